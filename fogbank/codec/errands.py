"""How a gateway says in a call of `Serve` that somebody waits for what the agent is to bring."""

# A pair of the call's initial metadata. A refusal can come with initial metadata too, without it.
TAKEN = ("fogbank-errand", "taken")
