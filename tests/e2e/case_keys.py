"""Cases about the key: `key_sources` (moto), `key_faults` (a strict stand-in for AWS), `key_backend`, `key_secrecy`."""

import json
import os
import re
import shutil
import signal
import subprocess
import tempfile
from datetime import timedelta
from pathlib import Path

from agent import API_KEY, Agent, GUARD_S, Setup
from case_ledger import _send, _trace
from checks import check, equal, wait_until
from fake_aws import FAR_REGION, REGION, Moto, StrictAws
from fake_http import Answer, json_answer
from fake_intake import FakeIntake


def _delivers(setup, env, says=None, silent=False, key=API_KEY):
    """With this environment the agent sends what it gets under the right key; gives the intake, the agent's lines apart."""
    with FakeIntake(key) as intake:
        base = setup.agent_env(setup.folder("keys"), intake)
        del base["DD_API_KEY"]
        with Agent([setup.binary, "run"], base | env) as agent:
            agent.ready()
            _send(agent, [_trace(2)])
            intake.wait_posts(1)
            agent.terminate().require_delivered(traces=2)
            intake.require_no_faults()
            _says(agent, says)
            check(not silent or not any(" WARN " in line or " ERROR " in line for line in agent.all_lines()), f"{agent.all_lines()}")
            return intake


def _ends(setup, env, code, says):
    """With this environment the agent ends by itself, with one line that says why."""
    base = setup.agent_env(setup.folder("keys"))
    with Agent([setup.binary, "run"], base | env) as agent:
        equal(agent.process.wait(GUARD_S), code, f"exit code; {agent.tail()}")
        [reader.join(GUARD_S) for reader in agent.readers]
        _says(agent, says)


def _says(agent, text):
    check(text is None or any(text in line for line in agent.all_lines()), f"no line says `{text}`: {agent.all_lines()}")


def checked(setup, env, code, *says, key=True):
    """What `mote check --key` prints with this environment."""
    base = setup.agent_env(setup.folder("keys"))
    command = [setup.binary, "check"] + ["--key"] * key
    done = subprocess.run(command, env=base | env, capture_output=True, text=True, timeout=120)
    equal(done.returncode, code, f"exit code of check; {done.stdout[-600:]} {done.stderr}")
    for text in says:
        check(text in done.stdout, f"check does not say `{text}`: {done.stdout[-800:]}")
    check(API_KEY not in done.stdout + done.stderr, "check shows the key")
    return done.stdout


def key_sources(setup: Setup):
    with Moto() as moto:
        env = lambda **more: moto.env_of(moto.allowed, **more)
        for more in [
            {"DD_KMS_API_KEY": moto.by_command_line},
            {"DD_API_KEY_KMS_ENCRYPTED": moto.by_console},
            {"DD_API_KEY_SECRET_ARN": moto.text},
            {"DD_API_KEY_SECRET_ARN": moto.json},
            {"DD_API_KEY_SECRET_ARN": moto.binary},
            {"DD_API_KEY_SECRET_ARN": moto.far},
            {"DD_API_KEY_SSM_ARN": moto.parameter},
            {"DD_API_KEY_SSM_ARN": "/dd/key"},
        ]:
            _delivers(setup, env(**more), silent=True)
        _delivers(setup, env(DD_API_KEY_SECRET_ARN=moto.parameter), "api_key_secret_arn holds the ARN of another service")
        _delivers(setup, env(DD_API_KEY_SECRET_ARN=moto.text + "x", DD_API_KEY=API_KEY), "no API key from api_key_secret_arn: ResourceNotFound")
        intake = _delivers(setup, env(DD_API_KEY_SECRET_ARN=moto.text, DD_ENV_SECRET_ARN=moto.env, DD_LOG_LEVEL="trace"))
        equal(intake.payloads()[0].env, "kept-env", "env that Secrets Manager keeps")
        # What moto says when it refuses is not in AWS's form; that it does is what counts here.
        _ends(setup, moto.env_of(moto.denied, DD_API_KEY_SECRET_ARN=moto.text), 78, "no API key from api_key_secret_arn: status 403")
        forged = moto.allowed | {"AWS_SECRET_ACCESS_KEY": "wrong"}
        _ends(setup, moto.env_of(forged, DD_KMS_API_KEY=moto.by_command_line), 78, "no API key from kms_api_key: status 403")
        away = env(DD_KMS_API_KEY=moto.by_command_line, AWS_ENDPOINT_URL_KMS="http://127.0.0.1:9")
        checked(setup, away, 69, "key: none from kms_api_key: 127.0.0.1:9: ", "error: whether the API key is good cannot be known now")
    return ("KMS by console and command line, Secrets Manager text, JSON, binary, other region, SSM by ARN and name, wrong variable, "
            "fallback, suffix rule, denied (78), wrong signature (78), unreachable (69); moto checked signatures and rights")


def key_faults(setup: Setup):
    arn = f"arn:aws:secretsmanager:{FAR_REGION}:1:secret:x"
    with StrictAws(ahead=timedelta(hours=30)) as aws:
        _delivers(setup, aws.env(DD_API_KEY_SECRET_ARN=arn), silent=True)
        equal((len(aws.seen), set(aws.regions)), (2, {FAR_REGION}), "requests until the signature has the server's time, regions")
    with StrictAws() as aws:
        _delivers(setup, aws.env(DD_API_KEY_SECRET_ARN="arn:aws:secretsmanager::1:secret:x"), silent=True)
        equal(aws.regions, [REGION], "region of an ARN without one")
    with StrictAws() as aws:
        token = setup.folder("token") / "token"
        token.write_text(aws.TOKEN + "\n")
        place = {"AWS_ENDPOINT_URL": aws.url, "AWS_CONTAINER_CREDENTIALS_FULL_URI": aws.url + "/credentials", "DD_API_KEY_SECRET_ARN": arn}
        _delivers(setup, place | {"AWS_CONTAINER_AUTHORIZATION_TOKEN": aws.TOKEN}, silent=True)
        _delivers(setup, place | {"AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE": str(token)}, silent=True)
        _ends(setup, place, 78, "/credentials: status 401")
        _ends(setup, {"DD_API_KEY_SECRET_ARN": arn}, 78, "no API key from api_key_secret_arn: no AWS credentials in the environment")
    with StrictAws(lambda _: json_answer(400, {"__type": "AccessDeniedException", "Message": "User: u is not authorized"})) as aws:
        denied = "from api_key_secret_arn: AccessDeniedException: User: u is not authorized; the role needs secretsmanager:GetSecretValue"
        _ends(setup, aws.env(DD_API_KEY_SECRET_ARN=arn), 78, "no API key " + denied)
        checked(setup, aws.env(DD_API_KEY_SECRET_ARN=arn), 78, "key: none " + denied, "error: no API key")
    with StrictAws(lambda _: Answer(200, b'{"SecretString":"' + b"x" * 10_000_000 + b'"}')) as aws:
        _ends(setup, aws.env(DD_API_KEY_SECRET_ARN=arn), 78, "the answer is longer than 262144 bytes")
    with StrictAws() as elsewhere, StrictAws(lambda _: Answer(307, b"", {"Location": elsewhere.url})) as aws:
        _delivers(setup, aws.env(DD_API_KEY_SECRET_ARN=arn, DD_API_KEY=API_KEY), "no API key from api_key_secret_arn: status 307, which leads elsewhere")
        checked(setup, aws.env(DD_API_KEY_SECRET_ARN=arn), 69, "key: none from api_key_secret_arn: status 307, which leads elsewhere")
        equal(elsewhere.seen, [], "requests that followed a redirect")
    with StrictAws() as elsewhere, FakeIntake(API_KEY, Answer(307, b"", {"Location": elsewhere.url + "/x"})) as intake:
        with Agent([setup.binary, "run"], setup.agent_env(setup.folder("keys"), intake)) as agent:
            agent.ready()
            _send(agent, [_trace(2)])
            intake.wait_posts(1)
            told = "answered with status 307, which leads elsewhere and is not followed: is a captive portal"
            wait_until(lambda: any(told in line for line in agent.all_lines()), GUARD_S, "a line about the redirect")
            agent.terminate().require_balanced()
        equal(elsewhere.seen, [], "requests that carried the key along a redirect")
    _changed(setup, arn)
    return ("a changed key in use without a restart, clock 30 h off signed again, ARN without region, tokens right, in a file, missing (78), no credentials (78), "
            "denied with the right that is missing (78), 10 MB (78), redirects not followed")


def _changed(setup, arn):
    """A key that was changed where it is kept is taken at the next look, and what comes then goes under the new one."""
    old = iter(["f" * 32])
    with StrictAws(lambda _: json_answer(200, {"SecretString": next(old, API_KEY)})) as aws, FakeIntake(API_KEY) as intake:
        env = setup.agent_env(setup.folder("keys"), intake) | aws.env(DD_API_KEY_SECRET_ARN=arn, DD_SECRET_REFRESH_INTERVAL="0.1")
        del env["DD_API_KEY"]
        with Agent([setup.binary, "run"], env) as agent:
            agent.ready()
            wait_until(lambda: any("the API key has changed" in line for line in agent.all_lines()), GUARD_S, "the new key")
            _send(agent, [_trace(2)])
            intake.wait_posts(1)
            agent.terminate().require_delivered(traces=2)
            intake.require_no_faults()


def key_backend(setup: Setup):
    folder = setup.folder("backend")
    log = folder / "calls"

    def backend(name, script, mode=0o700):
        path = folder / name
        path.write_text("#!/bin/sh\n" + script + "\n")
        path.chmod(mode)
        return {"DD_SECRET_BACKEND_COMMAND": str(path), "DD_SECRET_BACKEND_TIMEOUT": "1", "DD_API_KEY": "ENC[dd/key]"}

    answer = json.dumps({"dd/key": {"value": API_KEY, "error": None}, "tag": {"value": "team:kept", "error": None}})
    good = backend("good", f"cat >> {log}; echo >> {log}; echo \"$1\" >> {log}; cat <<'E'\n{answer}\nE")
    config = folder / "datadog.yaml"
    config.write_text("tags:\n- a:b\n- ENC[tag]\nsecret_backend_arguments: [one two]\n")
    with FakeIntake(API_KEY) as intake:
        env = setup.agent_env(setup.folder("keys"), intake) | good | {"DD_LOG_LEVEL": "trace"}
        with Agent([setup.binary, "run", "--config", config], env) as agent:
            agent.ready()
            _send(agent, [_trace(2)])
            intake.wait_posts(1)
            agent.terminate().require_delivered(traces=2)
            check(not any("kept" in line for line in agent.all_lines()), "a value of the backend is in a line")
        tags = intake.payloads()[0].tracerPayloads[0].chunks[0].spans[0].meta
        equal(tags.get("team"), "kept", "tag out of a list in the file")
    calls = log.read_text().split("\n")
    check('{"version":"1.0","secrets":["tag"]}' in calls and "one two" in calls, f"what the backend was told: {calls}")
    for name, script, mode, says in [
        ("hang", "sleep 3600 & wait", 0o700, "gave no answer within 1s and was killed"),
        ("flood", "exec cat /dev/zero", 0o700, "wrote more than 1048576 bytes and was killed"),
        ("fail", "echo vault is sealed >&2; exit 7", 0o700, "failed (exit status: 7): vault is sealed"),
        ("open", "echo", 0o777, "its group has rights on it (mode 0777), so it is not run; chmod 0700"),
        ("error", """echo '{"dd/key":{"value":"","error":"no such secret"}}'""", 0o700, "handle `dd/key`: no such secret"),
    ]:
        env = backend(name, script, mode)
        _ends(setup, env, 78, f"no API key from api_key: {folder / name}: {says}")
        checked(setup, env, 78, f"key: none from api_key: {folder / name}: {says}")
    running = [path for path in Path("/proc").glob("[0-9]*/cmdline") if b"sleep\x003600" in _read(path)]
    equal(running, [], "processes of a killed backend that are left")
    _ends(setup, {"DD_API_KEY": "ENC[x]"}, 78, "no API key from api_key: secret_backend_command is not set")
    return "key and a tag in a list, arguments; hang, flood, fail, world-writable, error of a handle: a line and 78 each, nothing left running"


def _read(path):
    try:
        return path.read_bytes()
    except OSError:
        return b""


def key_secrecy(setup: Setup):
    """A key from a file must be nowhere but in the request: not in lines at trace level, arguments, environment, files, core or status."""
    folder = setup.folder("secrecy")
    (folder / "key").write_text(API_KEY + "\n")
    (folder / "key").chmod(0o600)
    found, searched = [], 0

    def search(name, data):
        nonlocal searched
        searched += 1
        if API_KEY.encode() in data:
            found.append(name)

    with FakeIntake(API_KEY, Answer(503), Answer(403), Answer(reset=True)) as intake:
        env = setup.agent_env(folder, intake) | {"DD_LOG_LEVEL": "trace", "DD_API_KEY_FILE": str(folder / "key")}
        del env["DD_API_KEY"]
        with Agent([setup.binary, "run"], env) as agent:
            agent.ready()
            _send(agent, [_trace(20)])
            intake.wait_posts(2)
            proc = Path(f"/proc/{agent.pid}")
            for name in ("cmdline", "environ", "status", "comm", "limits"):
                search(name, (proc / name).read_bytes())
            check(re.search(r"Max core file size +0 +0 ", (proc / "limits").read_text()), "a core file may be written")
            agent.signal(signal.SIGUSR1)
            agent.signal(signal.SIGHUP)
            wait_until(lambda: any("settings were read again" in line for line in agent.all_lines()), GUARD_S, "SIGHUP")
            agent.signal(signal.SIGTERM)
            agent.process.wait(GUARD_S)
            [reader.join(GUARD_S) for reader in agent.readers]
            search("lines", "\n".join(agent.all_lines()).encode())
        for path in folder.rglob("*"):
            if path.is_file() and path.name != "key":
                search(str(path), path.read_bytes())
    for words in (["check"], ["check", "--key"], ["--help"], ["version"], ["run", "--nonsense", API_KEY[:4]]):
        done = subprocess.run([setup.binary, *words], env=env | {"DD_API_KEY": API_KEY, "DD_KMS_API_KEY": API_KEY}, capture_output=True, timeout=120)
        search(" ".join(words), done.stdout + done.stderr)
    for name in ("DD_API_KEY_FILE", "DD_API_KEY_SECRET_ARN", "DD_API_KEY_SSM_ARN", "DD_SITE", "DD_PROXY_HTTPS", "DD_SECRET_BACKEND_COMMAND"):
        mistaken = {"DD_LOG_LEVEL": "trace", "DD_RUN_PATH": str(folder), name: API_KEY}
        for words in (["run"], ["check", "--key"]):
            done = subprocess.run([setup.binary, *words], env=mistaken, capture_output=True, timeout=120)
            equal(done.returncode, 78, f"exit code of {words} with a key in {name}")
            search(f"{words} with the key in {name}", done.stdout + done.stderr)
            check(f"{name}: a key was given where".encode() in done.stdout + done.stderr, f"a key in {name} is not told")
    equal(found, [], "places where the key was found")
    hidden = _hidden_from_the_same_user(setup)
    return f"{searched} outputs, files and process files searched; no core file; {hidden}"


NOBODY = {"user": 65534, "group": 65534, "extra_groups": []}


def _hidden_from_the_same_user(setup):
    """The environment and memory of a process are its user's to read, unless it has hidden them. Needs a user without rights."""
    if os.geteuid() != 0 or Path("/proc/self/uid_map").read_text().split()[2] == "1":
        return "whether the memory is hidden was not looked at: that needs a second user"
    with tempfile.TemporaryDirectory() as place:
        os.chmod(place, 0o777)
        binary = shutil.copy(setup.binary, place)
        for core_dump, readable in (("true", True), ("false", False)):
            env = {"DD_RUN_PATH": place, "DD_CORE_DUMP": core_dump, "DD_COMMUNICATION_PORT": "0", "DD_APM_RECEIVER_PORT": "0"}
            with Agent([binary, "run", "--out", "-"], env, **NOBODY) as agent:
                agent.ready()
                done = subprocess.run(["cat", f"/proc/{agent.pid}/environ"], capture_output=True, **NOBODY)
                equal(done.returncode == 0, readable, f"the same user can read the process, core_dump {core_dump}")
    return "memory hidden from the same user, unless core_dump is on"
