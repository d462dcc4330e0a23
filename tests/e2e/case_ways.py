"""Case `ways_out`: proxies, private authorities, and what the site says of the key, all on the way that a company's network has."""

from agent import API_KEY, Agent, Setup
from case_keys import checked
from case_ledger import _send, _trace
from checks import check, equal, wait_until
from fake_http import Answer
from fake_intake import FakeIntake
from fake_proxy import Authority, FakeProxy

DOMAIN = "intake.test"
TRACES, API = f"trace.agent.{DOMAIN}", f"api.{DOMAIN}"


class Site(FakeIntake):
    """An intake that also knows keys."""

    def __init__(self, status=200, *answers):
        self.status, self.validated = status, []
        super().__init__(API_KEY, *answers)

    def handle(self, method, path, headers, body):
        if path.startswith("/api/v1/validate"):
            self.validated.append((method, path, headers.get("DD-Api-Key")))
            return Answer(self.status, b"{}")
        return super().handle(method, path, headers, body)


def ways_out(setup: Setup):
    folder = setup.folder("authority")
    authority, stranger = Authority(DOMAIN, folder), Authority("stranger.test", folder)
    with Site() as site, FakeProxy(authority, {TRACES: site.address, API: site.address, "plain.test": site.address}) as proxy:
        env = {"DD_API_KEY": API_KEY, "DD_SITE": DOMAIN, "DD_PROXY_HTTPS": proxy.url, "DD_TLS_CERT_FILE": str(authority.file)}
        _through_a_tunnel(setup, site, proxy, env)
        _plain(setup, site, proxy, env)
        _distrusted(setup, site, env, stranger)
        _verdicts(setup, site, env, proxy)
    return ("CONNECT with credentials to names that only the proxy knows, a private authority from a file of two, hourly validation by header; "
            "plain requests in absolute form; loopback and no_proxy direct; wrong authority and garbage told; skip_ssl_validation loud; "
            "check --key: valid 0, refused 78, unreachable 69")


def _agent(setup, env):
    return Agent([setup.binary, "run"], setup.agent_env(setup.folder("ways")) | env)


def _say(agent, text):
    wait_until(lambda: any(text in line for line in agent.all_lines()), 30, f"a line with `{text}`, but: {agent.all_lines()}")


def _through_a_tunnel(setup, site, proxy, env):
    with _agent(setup, env) as agent:
        agent.ready()
        _send(agent, [_trace(2)])
        site.wait_posts(1)
        _say(agent, f"https://{API} says that the API key is valid")
        agent.terminate().require_delivered(traces=2)
        site.require_no_faults()
        check(not any(secret in line for line in agent.all_lines() for secret in ("p@ss", "p%40ss")), "the proxy's password is in a line")
    equal({("CONNECT", f"{TRACES}:443"), ("CONNECT", f"{API}:443")} <= set(proxy.asked), True, f"tunnels, in {proxy.asked}")
    equal(site.validated, [("GET", "/api/v1/validate", API_KEY)], "validations")


def _plain(setup, site, proxy, env):
    """A plain intake through a proxy, a plain one on this machine without, and one that is excepted."""
    before, asked = len(site.posts), len(proxy.asked)
    plain = env | {"HTTP_PROXY": proxy.url, "DD_APM_DD_URL": "http://plain.test"}
    with _agent(setup, plain) as agent:
        agent.ready()
        _send(agent, [_trace(2)])
        site.wait_posts(before + 1)
        agent.terminate().require_delivered(traces=2)
    equal({target for _, target in proxy.asked[asked:]}, {"http://plain.test/api/v0.2/traces", "http://plain.test/api/v0.2/stats"},
          "what the proxy forwarded")
    asked = len(proxy.asked)
    with _agent(setup, plain | {"DD_APM_DD_URL": site.url}) as agent:
        agent.ready()
        _send(agent, [_trace(2)])
        site.wait_posts(before + 2)
        agent.terminate().require_delivered(traces=2)
    equal(len(proxy.asked), asked, "requests for this machine that went to the proxy")
    routes = checked(setup, plain | {"NO_PROXY": ".logs." + DOMAIN}, 0, f"route: logs https://http-intake.logs.{DOMAIN} directly",
                     f"route: traces http://plain.test through http://{proxy.address}", key=False)
    check("p@ss" not in routes and "p%40ss" not in routes, "check shows the proxy's password")


def _distrusted(setup, site, env, stranger):
    before = len(site.posts)
    with _agent(setup, env | {"DD_TLS_CERT_FILE": str(stranger.file)}) as agent:
        agent.ready()
        _send(agent, [_trace(2)])
        _say(agent, "UnknownIssuer; tls_cert_file names further ones to believe")
        agent.process.kill()
    equal(len(site.posts), before, "bodies sent to a server that is not believed")
    garbage = setup.folder("garbage") / "certs"
    garbage.write_bytes(bytes(range(256)) * 20)
    for path, says in ((garbage, "no certificate in PEM form is in it"), ("/nowhere/certs", "No such file")):
        more = {"DD_TLS_CERT_FILE": str(path), "DD_SKIP_SSL_VALIDATION": "true", "DD_MIN_TLS_VERSION": "tlsv1.3"}
        with _agent(setup, env | more) as agent:
            agent.ready()
            _send(agent, [_trace(2)])
            before += 1
            site.wait_posts(before)
            _say(agent, f"ERROR | {path}: {says}")
            _say(agent, "skip_ssl_validation is on: ANY server is believed")
            agent.terminate().require_delivered(traces=2)


def _verdicts(setup, site, env, proxy):
    checked(setup, env, 0, "key: found by api_key", "key: valid")
    site.status = 403
    checked(setup, env, 78, "key: refused; is it a key of this site", "error: the API key is refused")
    site.status = 500
    checked(setup, env, 69, "key: not known, as the site gives no answer: status 500")
    other = env | {"DD_SITE": "other.test"}
    checked(setup, other, 69, f"the proxy http://{proxy.address} opens no way to api.other.test:443 (502)")
    wrong = env | {"DD_PROXY_HTTPS": f"http://wrong:user@{proxy.address}"}
    checked(setup, wrong, 69, f"the proxy http://{proxy.address} wants other credentials (407)")
    site.status = 403
    with _agent(setup, env) as agent:
        agent.ready()
        _say(agent, f"ERROR | https://{API} says of the API key: refused")
        agent.terminate()
