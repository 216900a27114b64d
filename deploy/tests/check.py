#!/usr/bin/env python3
"""Checks deploy/ without an engine: what Helm, Docker Compose, Kubernetes' schemas, promtool, systemd and headcount itself say to it.

    check.py [--headcount BINARY]

Each check that needs a tool which is not here says so on a line and is left out; with CI set that is a failure.
"""

import argparse, os, pathlib, re, shutil, subprocess, sys, tempfile

import yaml

DEPLOY = pathlib.Path(__file__).resolve().parent.parent
CHART = DEPLOY / "helm/headcount"
KUBERNETES = "1.30"
# No schema is known for kinds of others.
FOREIGN = {"ServiceMonitor"}
# What a cluster's Secret would hold.
SECRETS = {
    "HEADCOUNT_AUTH__HMAC_SECRETS": "a" * 64,
    "HEADCOUNT_AUTH__API_KEYS": "b" * 64,
    "HEADCOUNT_COUNTER__KEY": "c" * 64,
    "HEADCOUNT_REDIS__PASSWORD": "d" * 64,
}
failures = []


def check(what, problem):
    print(f"{'FAILED' if problem else 'ok'}: {what}" + (f"\n{problem}" if problem else ""))
    if problem:
        failures.append(what)


def run(what, *command, cwd=DEPLOY, env=None):
    result = subprocess.run([str(word) for word in command], cwd=cwd, env=env, capture_output=True, text=True)
    check(what, "" if result.returncode == 0 else result.stdout + result.stderr)


def has(tool, why):
    if shutil.which(tool):
        return True
    print(f"left out: {why}, for {tool} is not here")
    if "CI" in os.environ:
        failures.append(why)
    return False


def accepts(binary, what, text, variables):
    """Whether the binary takes a configuration with the variables that a container would have."""
    with tempfile.NamedTemporaryFile("w", suffix=".toml") as file:
        file.write(text)
        file.flush()
        env = {"PATH": os.environ["PATH"], **SECRETS, **variables}
        run(f"{what}: headcount takes the configuration", binary, "--config", file.name, "config", "check", env=env)


# Helm


def sets_of_values():
    region = lambda name: yaml.safe_load((CHART / f"values-{name}.yaml").read_text())
    everything = {
        **region("eu"),
        "imagePullSecrets": [{"name": "registry"}],
        "gateway": {"replicas": 3, "coordinator": False, "autoscaling": {"enabled": True, "minReplicas": 2, "maxReplicas": 4, "cpuPercent": 50}},
        "counter": {"replicas": 3, "storage": {"size": "5Gi", "className": "fast"}},
    }
    return {"defaults": {}, "eu": region("eu"), "us": region("us"), "everything": everything}


REFUSED = {
    "an unknown key": {"gatway": {"replicas": 3}},
    "a Redis url with credentials": {"ring": {"nodes": [{"id": "a", "url": "redis://u:p@h:6379"}]}},
    "no etcd": {"etcd": {"endpoints": []}},
    "no Secret": {"existingSecret": ""},
    "a region with a space": {"region": "e u"},
}


def helm(binary):
    import helm_python
    from helm_python.chart import Chart, lint

    found = lint(str(CHART))
    # Severity 3 is an error, 2 a warning, 1 a wish (an icon).
    messages = [message for message in found["messages"] if message["severity"] > 1]
    check("helm lint", str(messages + found["errors"]) if messages or found["errors"] else "")
    with Chart.load(str(CHART)) as chart:
        for name, values in sets_of_values().items():
            documents = rendered(chart, name, values)
            kinds(name, documents)
            hardened(name, documents)
            drains(name, documents)
            configured(binary, name, documents)
        for name, values in REFUSED.items():
            try:
                chart.validate_schema(values)
                check(f"helm: {name} is refused", "the schema takes it")
            except helm_python.HelmValuesError:
                check(f"helm: {name} is refused", "")


def rendered(chart, name, values):
    chart.validate_schema(values)
    texts = chart.render(values, name="headcount", namespace="headcount")
    return [document for path, text in texts.items() if path.endswith(".yaml") for document in yaml.safe_load_all(text) if document]


def kinds(name, documents):
    import kubernetes_validate

    for document in documents:
        if document["kind"] in FOREIGN:
            continue
        problem = ""
        try:
            kubernetes_validate.validate(document, KUBERNETES, strict=True)
        except kubernetes_validate.ValidationError as error:
            problem = str(error)
        check(f"{name}: {document['kind']} {document['metadata']['name']} is one of Kubernetes {KUBERNETES}", problem)


def pods(documents):
    return [(document, document["spec"]["template"]["spec"]) for document in documents if document["kind"] in {"Deployment", "StatefulSet", "Job"}]


def hardened(name, documents):
    for document, pod in pods(documents):
        problems = []
        if not (pod["securityContext"].get("runAsNonRoot") and pod["securityContext"]["seccompProfile"]["type"] == "RuntimeDefault"):
            problems.append("the pod may be root, or has no seccomp profile")
        if pod.get("automountServiceAccountToken") is not False:
            problems.append("it has a token of the API")
        for container in pod["containers"]:
            security = container["securityContext"]
            wanted = {"allowPrivilegeEscalation": False, "readOnlyRootFilesystem": True, "capabilities": {"drop": ["ALL"]}}
            problems += [key for key, value in wanted.items() if security.get(key) != value]
            problems += ["no limit of memory"] if "memory" not in container["resources"].get("limits", {}) else []
        check(f"{name}: {document['kind']} {document['metadata']['name']} may do nothing that it need not", ", ".join(problems))


def drains(name, documents):
    """Whoever is ended has its whole drain, after the wait for load balancers."""
    for document, pod in pods(documents):
        for container in pod["containers"]:
            variables = {variable["name"]: variable.get("value") for variable in container["env"]}
            if "HEADCOUNT_SHUTDOWN__DRAIN_S" not in variables:
                continue
            wait = container["lifecycle"]["preStop"]["sleep"]["seconds"]
            least = wait + int(variables["HEADCOUNT_SHUTDOWN__DRAIN_S"]) + 10
            grace = pod["terminationGracePeriodSeconds"]
            check(f"{name}: {document['metadata']['name']} has {least} s to end", "" if grace >= least else f"{grace} s only")
            paths = {probe: container[probe]["httpGet"]["path"] for probe in ("livenessProbe", "readinessProbe")}
            wanted = {"livenessProbe": "/healthz", "readinessProbe": "/readyz"}
            check(f"{name}: {document['metadata']['name']} is probed", "" if paths == wanted else str(paths))


def configured(binary, name, documents):
    maps = {document["metadata"]["name"]: document["data"] for document in documents if document["kind"] == "ConfigMap"}
    for document, pod in pods(documents):
        for container in pod["containers"]:
            variables = {"HEADCOUNT_NODE__NAME": "headcount-0", "POD_IP": "10.0.0.1"}
            for variable in container["env"]:
                if "value" in variable:
                    expand = lambda match: variables[match.group(1)]
                    variables[variable["name"]] = re.sub(r"\$\((\w+)\)", expand, variable["value"])
            del variables["POD_IP"], variables["HEADCOUNT_CONFIG"]
            if binary:
                accepts(binary, f"{name}: {document['metadata']['name']}", maps["headcount"]["headcount.toml"], variables)


def manifests():
    for file in sorted((DEPLOY / "helm/examples").glob("*.yaml")):
        documents = [document for document in yaml.safe_load_all(file.read_text()) if document]
        kinds(file.name, documents)
        hardened(file.name, documents)


# Compose


def compose(binary):
    text = (DEPLOY / "compose/compose.yaml").read_text()
    with tempfile.TemporaryDirectory() as directory:
        # With secrets that are made for this check alone.
        copy = pathlib.Path(directory) / "deploy"
        shutil.copytree(DEPLOY / "compose", copy / "compose", ignore=shutil.ignore_patterns("secrets"))
        (copy / "rules.acl").write_text("user default off\nuser headcount on ~hc:* +ping\n")
        run("compose: secrets are made", copy / "compose/secrets.bash", copy / "rules.acl", cwd=copy)
        rules = (copy / "compose/secrets/users.acl").read_text()
        check("compose: Redis is told the hash of the password", "" if re.search(r"^user headcount .* #[0-9a-f]{64}$", rules, re.M) else rules)
        if has("docker-compose", "compose: docker-compose takes the file"):
            run("compose: docker-compose takes the file", "docker-compose", "-f", "compose.yaml", "config", "-q", cwd=copy / "compose")
    services = yaml.safe_load(text)["services"]
    for name, service in services.items():
        problems = [key for key, value in (("read_only", True), ("cap_drop", ["ALL"])) if service.get(key) != value]
        problems += [] if "no-new-privileges:true" in service.get("security_opt", []) else ["no-new-privileges"]
        check(f"compose: {name} may do nothing that it need not", ", ".join(problems))
        published = [port for port in service.get("ports", []) if not port.startswith("127.0.0.1:")]
        check(f"compose: {name} is published on loopback only", ", ".join(published))
        file = next((word for word in service["command"] if word.endswith("gateway.toml") or word.endswith("counter.toml")), None)
        if binary and file and "serve" in service["command"]:
            accepts(binary, f"compose: {name}", (DEPLOY / "compose/config" / pathlib.Path(file).name).read_text(), service["environment"])


# The rest


def prometheus():
    if not has("promtool", "compose: promtool takes the configuration"):
        return
    for file in sorted((DEPLOY / "compose/prometheus").glob("*.yml")):
        with tempfile.TemporaryDirectory() as directory:
            shutil.copy(file, directory)
            shutil.copy(DEPLOY / "prometheus/headcount.rules.yml", directory)
            run(f"compose: promtool takes {file.name}", "promtool", "check", "config", file.name, cwd=directory)


def systemd():
    if not has("systemd-analyze", "systemd: the unit is verified"):
        return
    with tempfile.TemporaryDirectory() as directory:
        unit = pathlib.Path(directory) / "headcount.service"
        # The binary is not installed here; what is verified is the rest.
        unit.write_text((DEPLOY / "systemd/headcount.service").read_text().replace("/usr/local/bin/headcount", "/bin/true"))
        drop_ins = pathlib.Path(directory) / "headcount.service.d"
        drop_ins.mkdir()
        shutil.copy(DEPLOY / "systemd/tls.conf", drop_ins)
        result = subprocess.run(["systemd-analyze", "verify", "--man=no", str(unit)], capture_output=True, text=True)
        check("systemd: the unit is verified", result.stderr if result.returncode or "headcount.service" in result.stderr else "")
        result = subprocess.run(["systemd-analyze", "security", "--offline=true", "--threshold=20", str(unit)], capture_output=True, text=True)
        check("systemd: exposure is at most 2.0 of 10", "" if result.returncode == 0 else result.stdout[-400:] + result.stderr)


def main():
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--headcount", help="the binary that has to take the configurations")
    binary = arguments.parse_args().headcount
    helm(binary)
    manifests()
    compose(binary)
    prometheus()
    systemd()
    print(f"deploy: {len(failures)} checks failed" if failures else "deploy: all is well")
    sys.exit(1 if failures else 0)


main()
