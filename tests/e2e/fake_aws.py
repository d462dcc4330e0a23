"""Other sides of the key: moto with signatures and permissions enforced, and a stand-in for what moto does not do."""

import base64
import json
import os
import re
import socket
import subprocess
import sys
from datetime import datetime, timedelta, timezone
from email.utils import format_datetime
from urllib.request import Request, urlopen

import boto3
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.config import Config
from botocore.credentials import Credentials

from agent import API_KEY
from checks import wait_until
from fake_http import Answer, FakeServer, json_answer

FUNCTION = "my-fn"
REGION, FAR_REGION = "us-east-1", "eu-west-1"
MAY_ALL = {"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "*", "Resource": "*"}]}


class Moto:
    """A moto server that has the key in every form. From the end of the constructor on it checks signatures and permissions."""

    def __init__(self):
        self.process, self.url = None, None

    def __enter__(self):
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        self.url = f"http://127.0.0.1:{port}"
        self.process = subprocess.Popen(
            [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)],
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=os.environ | {"PYTHONWARNINGS": "ignore"})
        try:
            wait_until(lambda: _accepts(port), 60, "moto")
            self._furnish()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_):
        self.process.kill()
        self.process.wait()

    def _client(self, service, region=REGION):
        return boto3.client(service, region_name=region, endpoint_url=self.url, aws_access_key_id="x", aws_secret_access_key="x",
                            config=Config(retries={"max_attempts": 1}))

    def _furnish(self):
        iam, kms = self._client("iam"), self._client("kms")
        self.allowed, self.denied = self._user(iam, "allowed", MAY_ALL), self._user(iam, "denied", None)
        key = kms.create_key()["KeyMetadata"]["KeyId"]
        encrypt = lambda **more: _base64(kms.encrypt(KeyId=key, Plaintext=API_KEY.encode(), **more)["CiphertextBlob"])
        self.by_command_line = encrypt()
        self.by_console = encrypt(EncryptionContext={"LambdaFunctionName": FUNCTION})
        secrets = self._client("secretsmanager")
        make = lambda client, name, **value: client.create_secret(Name=name, **value)["ARN"]
        self.text = make(secrets, "text", SecretString=API_KEY + "\n")
        self.json = make(secrets, "json", SecretString=json.dumps({"other": "x", "dd_api_key": API_KEY}))
        self.binary = make(secrets, "binary", SecretBinary=API_KEY.encode())
        self.env = make(secrets, "env", SecretString="kept-env")
        self.far = make(self._client("secretsmanager", FAR_REGION), "far", SecretString=API_KEY)
        ssm = self._client("ssm")
        ssm.put_parameter(Name="/dd/key", Type="SecureString", Value=API_KEY)
        self.parameter = ssm.get_parameter(Name="/dd/key")["Parameter"]["ARN"]
        _post(f"{self.url}/moto-api/reset-auth", b"0")

    def _user(self, iam, name, policy):
        iam.create_user(UserName=name)
        if policy:
            iam.put_user_policy(UserName=name, PolicyName="p", PolicyDocument=json.dumps(policy))
        key = iam.create_access_key(UserName=name)["AccessKey"]
        return {"AWS_ACCESS_KEY_ID": key["AccessKeyId"], "AWS_SECRET_ACCESS_KEY": key["SecretAccessKey"]}

    def env_of(self, user, **more):
        return {"AWS_ENDPOINT_URL": self.url, "AWS_REGION": REGION, "AWS_LAMBDA_FUNCTION_NAME": FUNCTION} | user | more


def _accepts(port):
    try:
        socket.create_connection(("127.0.0.1", port), 1).close()
        return True
    except OSError:
        return False


def _post(url, body):
    with urlopen(Request(url, body, {"Content-Type": "text/plain"}, method="POST"), timeout=30) as answer:
        return answer.read()


def _base64(data):
    return base64.b64encode(data).decode()


class StrictAws(FakeServer):
    """Secrets Manager with one secret. Refuses what AWS refuses: a wrong signature, a time that is off, a token that is missing.
    `script(self)` may give another answer."""

    ID, SECRET, TOKEN, SESSION = "AKIDEXAMPLE", "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY", "the-token", "the-session"

    def __init__(self, script=None, ahead=timedelta()):
        self.script, self.ahead = script, ahead
        self.seen, self.regions = [], []
        super().__init__()
        self.url = f"http://{self.address}"

    def handle(self, method, path, headers, body):
        self.seen.append((method, path))
        if path == "/credentials":
            return self._hand_out(headers)
        now = datetime.now(timezone.utc) + self.ahead
        date = {"Date": format_datetime(now, usegmt=True)}
        fault = self._fault(method, path, headers, body, now)
        if fault:
            return json_answer(400, {"__type": fault, "message": "as seen by the strict fake"}, **date)
        if self.script:
            return self.script(self)
        return json_answer(200, {"SecretString": API_KEY}, **date)

    def _hand_out(self, headers):
        if headers.get("Authorization") != self.TOKEN:
            return Answer(401)
        return json_answer(200, {"AccessKeyId": self.ID, "SecretAccessKey": self.SECRET, "Token": self.SESSION,
                                 "Expiration": "2099-01-02T09:04:05Z"})

    def _fault(self, method, path, headers, body, now):
        found = re.match(r"AWS4-HMAC-SHA256 Credential=([^/]+)/(\d{8})/([^/]+)/([^/]+)/aws4_request, SignedHeaders=([^,]+), "
                         r"Signature=([0-9a-f]{64})$", headers.get("Authorization", ""))
        if not found:
            return "MissingAuthenticationTokenException"
        signer, _, region, service, names, _ = found.groups()
        self.regions.append(region)
        time_text = headers["X-Amz-Date"]
        asked_at = datetime.strptime(time_text, "%Y%m%dT%H%M%SZ").replace(tzinfo=timezone.utc)
        if timedelta(minutes=5) < abs(now - asked_at):
            return "InvalidSignatureException"
        request = AWSRequest(method, f"http://{headers['Host']}{path}", data=body)
        for name in names.split(";"):
            request.headers[name] = headers[name]
        request.context["timestamp"] = time_text
        auth = SigV4Auth(Credentials(signer, self.SECRET), service, region)
        text = auth.string_to_sign(request, auth.canonical_request(request))
        if signer != self.ID or not headers["Authorization"].endswith(auth.signature(text, request)):
            return "InvalidSignatureException"
        return None

    def env(self, **more):
        return {"AWS_ENDPOINT_URL": self.url, "AWS_REGION": REGION, "AWS_ACCESS_KEY_ID": self.ID,
                "AWS_SECRET_ACCESS_KEY": self.SECRET} | more
