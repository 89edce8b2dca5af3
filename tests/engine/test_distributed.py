import pytest
from mmengine.config import Config

from mmrep.engine.distributed import init_distributed
from mmrep.errors import UsageError


@pytest.mark.parametrize('launcher', ['pytorch', 'slurm', 'mpi'])
def test_launcher_without_its_variables(launcher, monkeypatch):
    for name in ('RANK', 'SLURM_PROCID', 'OMPI_COMM_WORLD_RANK'):
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(UsageError, match=f'--launcher {launcher} needs'):
        init_distributed(Config(), launcher)
