"""The Slurm that other tests stand on (see slurm_cluster.py) does what they take for granted."""
from slurm_cluster import SlurmCluster


def test_a_step_runs_on_every_node(slurm: SlurmCluster) -> None:
    assert sorted(slurm.command("srun", "-N3", "printenv", "SLURMD_NODENAME").split()) == ["n1", "n2", "n3"]


def test_gpus_are_handed_out(slurm: SlurmCluster) -> None:
    assert slurm.command("srun", "--gres=gpu:2", "printenv", "CUDA_VISIBLE_DEVICES") == "0,1\n"
