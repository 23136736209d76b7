"""The index from each thing to its events has one row for a thing and a commit, not for each event.

No other table has so many rows. `touches` shows it by events, as it was.
"""

from alembic import op
from sqlalchemy import text

revision = "0014"
down_revision = "0013"
branch_labels = None
depends_on = None

_TABLE = """
CREATE TABLE public.commit_touches (
    kind smallint NOT NULL,
    id uuid NOT NULL,
    position bigint NOT NULL,
    counts boolean NOT NULL,
    more json
);
COMMENT ON TABLE public.commit_touches IS
    'Which commits touch a thing: by which event first (position: sequence << 16 | index), whether '
    'that counts, and by which others (indexes, negative where void); kinds: 1 deployment, 2 node, '
    '3 user, 4 cluster, 5 organization, 6 which host a node is and whether it is there, '
    '7 loads of a node, 8 nodes by name, 9 policies'
"""

# In steps, each of which ends well before a statement may take too long.
_KINDS = 9
_STEPS = 64
_MOVE = """
INSERT INTO public.commit_touches (kind, id, position, counts, more)
SELECT {kind}, id, min(position),
    (array_agg(counts ORDER BY position))[1],
    CASE WHEN count(*) > 1 THEN array_to_json((
        array_agg(
            CASE WHEN counts THEN position & 65535 ELSE -(position & 65535) END ORDER BY position
        )
    )[2:]) END
FROM public.touches
WHERE kind = {kind} AND id BETWEEN '{first}' AND '{last}'
GROUP BY id, position >> 16
"""

_VIEW = """
DROP TABLE public.touches;
ALTER TABLE public.commit_touches ADD PRIMARY KEY (kind, id, position);
CREATE INDEX commit_touches_more ON public.commit_touches (kind, id, position)
    WHERE more IS NOT NULL;
CREATE VIEW public.touches AS
SELECT kind, id, position, counts FROM public.commit_touches
UNION ALL
SELECT t.kind, t.id, t.position >> 16 << 16 | abs(others.index::integer), others.index::integer > 0
FROM public.commit_touches t CROSS JOIN json_array_elements_text(t.more) AS others (index)
WHERE t.more IS NOT NULL;
COMMENT ON VIEW public.touches IS
    'Which events (position: sequence << 16 | index) touch a thing; kinds as in commit_touches'
"""


def upgrade() -> None:
    for statement in _TABLE.split(";\n"):
        op.execute(statement)
    if op.get_bind().scalar(text("SELECT EXISTS (SELECT FROM public.touches)")):
        _move()
    for statement in _VIEW.split(";\n"):
        op.execute(statement)


def _move() -> None:
    width = (1 << 128) // _STEPS
    for kind in range(1, _KINDS + 1):
        for step in range(_STEPS):
            first, last = step * width, (step + 1) * width - 1
            op.execute(_MOVE.format(kind=kind, first=f"{first:032x}", last=f"{last:032x}"))
