from mmrep.machine import facts


def test_facts_of_a_cpu():
    found = facts('cpu')
    assert found['device'] == 'cpu' and found['name']
    assert found['cores'] >= 1 and found['threads'] >= 1
    assert len(found['commit']) == 40 or found['commit'] == 'unknown'
    assert 'cuda' not in found
    assert {type(found[key]) for key in ('bf16', 'vnni')} == {bool}


def test_no_git(monkeypatch):
    monkeypatch.setenv('PATH', '/nowhere')
    assert facts('cpu')['commit'] == 'unknown'
