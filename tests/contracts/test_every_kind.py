"""What a kind of any family promises: it can be made, it survives being stored, it is cheap to import, it explains itself."""

import json
import subprocess
import sys

import pytest
from catalogue import ALL, file_of, small

from certflow.config import SECTIONS
from certflow.kinds.registry import PACKAGES, kinds, register, revive, spec_class
from certflow.kinds.spec import Spec

HEAVY = ("torch", "torchvision", "timm", "diffusers", "sklearn", "PIL", "matplotlib", "scipy.stats", "pandas")


@pytest.mark.parametrize(("family", "kind"), ALL)
def test_it_has_a_small_instance_that_its_file_describes(family, kind):
    assert small(family, kind).kind == kind


def test_a_kind_without_an_example_is_told_where_to_write_one(monkeypatch):
    monkeypatch.setattr(spec_class("noise", "gaussian"), "example", {})
    with pytest.raises(pytest.fail.Exception, match=r"sigma: Field required.*lib/certflow/noise/kinds/gaussian\.py"):
        small("noise", "gaussian")


@pytest.mark.parametrize(("family", "kind"), ALL)
def test_what_is_stored_of_it_gives_it_back(family, kind):
    spec = small(family, kind)
    stored = json.loads(json.dumps(spec.canonical()))
    assert stored["kind"] == kind and not spec.unhashed & set(stored)
    needed = {name: getattr(spec, name) for name in spec.unhashed & set(spec.example)}
    again = revive(family, stored, **needed)
    assert again.canonical() == spec.canonical() and again.digest() == spec.digest()


@pytest.mark.parametrize(("family", "kind"), ALL)
def test_it_says_what_it_is(family, kind):
    cls = spec_class(family, kind)
    assert cls.__doc__ and cls.__doc__ != Spec.__doc__, f"{file_of(family, kind)}: {cls.__name__} needs a docstring"
    assert sys.modules[cls.__module__].__doc__, f"{file_of(family, kind)}: the module needs a docstring"


def test_every_family_is_a_section_of_the_configuration():
    assert sorted(SECTIONS.values()) == sorted(PACKAGES)


@pytest.mark.parametrize("family", PACKAGES)
def test_importing_kinds_loads_nothing_heavy(family):
    """A module that `lazy` announced and nobody touched is not loaded. The workflow reads these files on every start."""
    code = (
        "import json, sys\n"
        "from certflow.kinds.registry import Unloaded, kinds, spec_class\n"
        "found = {}\n"
        f"for kind in kinds({family!r}):\n"
        f"    spec_class({family!r}, kind)\n"
        f"    for name in {HEAVY!r}:\n"
        "        if name in sys.modules and not isinstance(sys.modules[name], Unloaded):\n"
        "            found.setdefault(name, kind)\n"
        "print(json.dumps(found))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    loaded = [f"{file_of(family, kind)} loads {name}" for name, kind in json.loads(done.stdout).items()]
    assert not loaded, f"{'; '.join(loaded)}: import it inside functions, or as `{{name}} = lazy('{{name}}')`"


def test_a_kind_is_registered_once_and_under_the_name_of_its_file():
    cls = spec_class("noise", "gaussian")
    with pytest.raises(TypeError, match=r"the file must be named other\.py"):
        register("other")(cls)
    twin = type("Twin", (cls,), {"__module__": "elsewhere"})
    with pytest.raises(TypeError, match="is registered by"):
        register("gaussian")(twin)
    assert "gaussian" in kinds("noise")
