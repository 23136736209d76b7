import os

# Replays run in processes of their own. With gRPC's handlers for forks, about one of ten of those
# died before it began; they matter only to who forks and goes on without exec. gRPC reads it when
# it is imported first, which is after this.
os.environ.setdefault("GRPC_ENABLE_FORK_SUPPORT", "0")
