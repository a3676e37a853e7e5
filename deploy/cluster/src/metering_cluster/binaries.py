"""The programs of a one-node Kubernetes, built from their Go modules once and kept by the hash of their go.sum."""

import hashlib
import json
import os
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

PROGRAMS = Path(__file__).parent / "programs"
KUBERNETES = "v1.33.13"
VERSION = "k8s.io/component-base/version"
COMMANDS = ("kube-apiserver", "kube-controller-manager", "kube-scheduler", "kubelet", "kube-proxy", "kubectl")


@dataclass(frozen=True)
class Module:
    """A folder of `programs` and what is built in it: packages, or packages under a name."""

    folder: str
    packages: tuple[str, ...]
    makes: tuple[str, ...]
    stamp: str = ""


MODULES = (
    Module(
        "kubernetes",
        (*(f"k8s.io/kubernetes/cmd/{name}" for name in COMMANDS), "./pause"),
        (*COMMANDS, "pause"),
        f"-X {VERSION}.gitVersion={KUBERNETES} -X {VERSION}.gitMajor=1 -X {VERSION}.gitMinor=33",
    ),
    Module("kubernetes", ("go.etcd.io/etcd/server/v3",), ("etcd",)),
    Module("metrics-server", ("sigs.k8s.io/metrics-server/cmd/metrics-server",), ("metrics-server",)),
    Module("coredns", (".",), ("coredns",)),
    Module("helm", ("helm.sh/helm/v3/cmd/helm",), ("helm",)),
)
CRDS = {
    "github.com/kedacore/keda/v2@v2.21.0": (
        "h1:R6z2HZvstK4RLUMxroNACzBj74xGxt3kG59b5Xc+Xps=",
        "config/crd/bases/keda.sh_*.yaml",
    ),
    "github.com/prometheus-operator/prometheus-operator@v0.85.0": (
        "h1:M5xLCLEoaW2IJfnuCwFzzpL+jSVQu3KGT84Pye+fW8s=",
        "example/prometheus-operator-crd/monitoring.coreos.com_*.yaml",
    ),
    "github.com/external-secrets/external-secrets@v0.17.0": (
        "h1:ZV+T915JKdPHfmOuBO438Fa+0uFY5rPBbFYw9KlUMNM=",
        "config/crds/bases/external-secrets.io_externalsecrets.yaml",
    ),
}
"""Modules that hold definitions of custom resources as files: their checksum, and where the files are."""


def cache() -> Path:
    """Outside the checkout, so that it outlives it."""
    base = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    folder = base / "metering-cluster"
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def program(name: str) -> Path:
    """The path of one program, built if need be; takes minutes the first time."""
    [module] = [module for module in MODULES if name in module.makes]
    folder = _folder(module)
    if not (folder / name).exists():
        _build(module, folder)
    return folder / name


def are_built() -> bool:
    return all((_folder(module) / name).exists() for module in MODULES for name in module.makes)


def build_all() -> None:
    for module in MODULES:
        program(module.makes[0])


def _folder(module: Module) -> Path:
    sums = (PROGRAMS / module.folder / "go.sum").read_bytes() + module.stamp.encode()
    return cache() / f"{module.folder}-{module.makes[0]}-{hashlib.sha256(sums).hexdigest()[:16]}"


def _build(module: Module, folder: Path) -> None:
    """Into a folder of its own first: what stands under the final name is whole."""
    scratch = folder.with_name(f"{folder.name}.{os.getpid()}")
    scratch.mkdir()
    target = scratch if len(module.makes) > 1 else scratch / module.makes[0]
    flags = ["-trimpath", "-p", "2", "-ldflags", f"-s -w {module.stamp}"]
    command = ["go", "build", "-C", str(PROGRAMS / module.folder), *flags, "-o", str(target), *module.packages]
    subprocess.run(command, env=os.environ | {"CGO_ENABLED": "0", "GOFLAGS": ""}, check=True)
    folder.mkdir(exist_ok=True)
    for name in module.makes:
        (scratch / name).rename(folder / name)
    shutil.rmtree(scratch)


def definitions() -> list[Path]:
    """The files that define the custom resources of KEDA, the Prometheus operator and External Secrets."""
    return [file for module in CRDS for file in _crds(module)]


def _crds(module: str) -> list[Path]:
    checksum, where = CRDS[module]
    command = ["go", "mod", "download", "-json", module]
    done = subprocess.run(command, env=os.environ | {"GOFLAGS": "-mod=mod"}, cwd="/", capture_output=True, check=True)
    fetched = json.loads(done.stdout)
    assert fetched["Sum"] == checksum, f"{module} is {fetched['Sum']}"
    return sorted(Path(fetched["Dir"]).glob(where))
