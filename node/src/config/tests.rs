//! Pure: what the configuration says to good and bad input.

use super::{layers::DEFAULT_FILE, *};
use protocol::namespace::{Grant, Grants, Namespace};

pub(super) fn load(toml: &str, env: &[(&str, &str)]) -> Result<Config, Vec<String>> {
    let env: Vec<_> = env.iter().map(|(name, text)| (name.to_string(), text.to_string())).collect();
    Config::load(Some(("hc.toml", toml)), &env).map_err(|BadConfig(problems)| problems.iter().map(ToString::to_string).collect())
}

pub(super) fn problems(toml: &str, env: &[(&str, &str)]) -> Vec<String> {
    load(toml, env).map(|_| Vec::new()).unwrap_or_else(|problems| problems)
}

#[test]
fn every_key_of_the_default_file_is_read_and_its_value_is_good() {
    let layers = Layers::merge(None, &[]);
    let values = Values::of(&layers);
    let mut reader = Reader::new(layers);
    Config::read(&mut reader, values);
    assert_eq!(reader.unread(), [""; 0]);
    assert!(reader.finish().is_ok());
}

#[test]
fn the_default_file_is_the_default() {
    let (nothing, everything) = (load("", &[]).unwrap(), load(DEFAULT_FILE, &[]).unwrap());
    assert!(nothing.auth.development && everything.auth.development);
    assert_eq!(nothing.listen.client, Some("127.0.0.1:8000".parse().unwrap()));
    assert_eq!(nothing.limits.message_bytes, protocol::limits::MESSAGE_BYTES_MAX);
    assert_eq!(nothing.limits.channels_per_client, protocol::limits::CHANNELS_PER_CLIENT_MAX);
    assert_eq!(nothing.limits.outbox_bytes, protocol::limits::OUTBOX_BYTES_MAX);
    assert_eq!((nothing.presence.grace_ms, nothing.presence.lease_ttl_ms), (15_000, ring_coordinator::etcd::lease::LEASE_TTL_MS));
    // The copy spells the grants out, so they hold although the mode is development.
    assert_eq!(namespaces(&nothing)[0].grants, Grants::all(Grant::Anyone));
    assert_eq!(namespaces(&everything)[0].grants, Grants { presence: Grant::Anyone, ..Grants::all(Grant::Authenticated) });
}

#[test]
fn bad_input_is_told_with_place_key_value_and_reason() {
    let secret = "[auth]\nhmac_secrets = [\"a secret of thirty-two bytes or so\"]\n";
    for (toml, expected) in [
        ("[limits]\nmessage_bytes = 10", "hc.toml:2: limits.message_bytes = 10: must be a whole number from 1024 to 16777216"),
        ("[limits]\nmessage_bytes = -1", "hc.toml:2: limits.message_bytes = -1: must be a whole number from 1024 to 16777216"),
        ("[limits]\nmessage_bytes = \"64k\"", "hc.toml:2: limits.message_bytes = \"64k\": must be a whole number from 1024 to 16777216"),
        ("\n[limits]\n\nmesage_bytes = 2000", "hc.toml:4: limits.mesage_bytes: unknown key; did you mean limits.message_bytes?"),
        ("[node]\nping_interval_s = 5", "hc.toml:2: node.ping_interval_s: unknown key; did you mean limits.ping_interval_s?"),
        ("[limit]\noutbox_bytes = 70000", "hc.toml:2: limit.outbox_bytes: unknown key; did you mean limits.outbox_bytes?"),
        ("[logs]", "hc.toml:1: logs: unknown key; did you mean log?"),
        ("[quite_different]\nthing = 1", "hc.toml:2: quite_different.thing: unknown key"),
        ("limits = 3", "hc.toml:1: limits: is a section: write [limits]"),
        ("[node]\nname = \"a b\"", "hc.toml:2: node.name = \"a b\": must be 1-64 of A-Z a-z 0-9 . _ -"),
        ("[node]\nregion = \"\"", "hc.toml:2: node.region = \"\": must be 1-64 of A-Z a-z 0-9 . _ -"),
        ("[node]\nname = 5", "hc.toml:2: node.name = 5: must be a string"),
        (
            "[node]\nroles = [\"gatway\"]",
            "hc.toml:2: node.roles = [\"gatway\"]: \"gatway\" is no role; the roles are \"all\", \"gateway\", \"counter\", \"coordinator\"",
        ),
        (
            "[node]\nroles = [\"coordinator\"]",
            "hc.toml:2: node.roles = [\"coordinator\"]: \"coordinator\" needs etcd.endpoints: the coordinator is elected, and the ring kept, in \
             etcd",
        ),
        (
            "[node]\nroles = []",
            "hc.toml:2: node.roles = []: must name a role: \"all\", or some of \"gateway\", \"counter\", \"coordinator\"",
        ),
        (
            "[node]\nroles = [\"all\", \"counter\"]",
            "hc.toml:2: node.roles = [\"all\", \"counter\"]: \"all\" stands alone: write [\"all\"], or name the roles",
        ),
        (
            "[node]\nroles = [\"gateway\"]\n[counter]\nkey = \"sixteen bytes it has\"",
            "default: counter.seeds = []: must name the peer listeners of the region's counter nodes for a gateway whose counters are elsewhere, unless etcd.endpoints is set",
        ),
        (
            "[node]\nroles = [\"gateway\"]\n[counter]\nseeds = [\"c1:7400\"]",
            "default: counter.key: must be set for a gateway whose counters are elsewhere, unless tls.peer_ca is: it shows who belongs to the cluster",
        ),
        (
            "[node]\nroles = [\"gateway\"]\n[counter]\nkey = \"sixteen bytes it has\"\nseeds = [\"c1:7400\"]\nproducers = [\"eu/g1\"]",
            "hc.toml:6: counter.producers = [\"eu/g1\"]: is for nodes with counters; set it there",
        ),
        (
            "[node]\nname = \"c1\"\nroles = [\"counter\"]",
            "default: counter.key: must be set for a node with counters alone, unless tls.peer_ca is: it shows who belongs to the cluster",
        ),
        (
            "[node]\nroles = [\"counter\"]\n[counter]\nkey = \"sixteen bytes it has\"",
            "default: node.name = \"\": must be set for a node with counters alone: a node that has lost its disk comes back under the same name",
        ),
        (
            "[node]\nname = \"c1\"\nroles = [\"counter\"]\n[counter]\nkey = \"sixteen bytes it has\"\n[listen]\npeer = \"\"",
            "hc.toml:7: listen.peer = \"\": must be set for a node with counters alone: other nodes connect to it",
        ),
        (
            "[counter]\nproducers = [\"g1\"]\nkey = \"sixteen bytes it has\"\n[node]\nname = \"c1\"",
            "hc.toml:2: counter.producers = [\"g1\"]: \"g1\" is not REGION/NODE",
        ),
        ("[node]\ndata_dir = \"\"", "hc.toml:2: node.data_dir = \"\": must name a directory"),
        (
            "[listen]\nclient = \"localhost:8000\"",
            "hc.toml:2: listen.client = \"localhost:8000\": must be IP:PORT, such as 127.0.0.1:8000 or [::1]:8000",
        ),
        ("[listen]\nclient = \"\"", "hc.toml:2: listen.client = \"\": must be set: without it no client can connect"),
        ("[listen]\nadmin = \"127.0.0.1:8000\"", "hc.toml:2: listen.admin = \"127.0.0.1:8000\": is taken by listen.client"),
        (
            "[etcd]\nendpoints = [\"http://e\"]",
            "hc.toml:2: etcd.endpoints = [\"http://e\"]: \"http://e\" is not http://HOST:PORT or https://HOST:PORT",
        ),
        ("[redis]\npassword = \"hunter2\"", "hc.toml:2: redis.password: needs etcd.endpoints: which Redis nodes there are is kept in etcd"),
        ("[redis]\nca = \"ca.pem\"", "hc.toml:2: redis.ca = \"ca.pem\": needs redis.tls = true"),
        (
            "[etcd]\nendpoints = [\"http://e:2379\"]\n[redis]\ntls = true",
            "default: redis.ca = \"\": must be set with redis.tls: no authority is trusted by itself",
        ),
        ("[etcd]\nendpoints = [\"http://e:2379\"]\n[redis]\nusername = \"hc\"", "default: redis.password: must be set with redis.username"),
        (
            "[tls]\ncert = \"c.pem\"",
            "hc.toml:2: tls.cert = \"c.pem\": needs tls.peer_ca: it is shown to other nodes; clients are shown tls.client_cert",
        ),
        (
            "[tls]\ncert = \"c.pem\"\npeer_ca = \"ca.pem\"",
            "default: tls.key = \"\": must be set with tls.peer_ca: peers want to see this node's certificate too",
        ),
        (
            "[tls]\ncert = \"c.pem\"\npeer_ca = \"ca.pem\"\nkey = \"-----BEGIN PRIVATE KEY-----\"",
            "hc.toml:4: tls.key: is what the file should hold: write the file's path",
        ),
        (
            "[counter]\nseeds = [\"c1:7400\"]\n[node]\nname = \"c2\"\n[tls]\npeer_ca = \"\"",
            "default: counter.key: must be set with counter.seeds, unless tls.peer_ca is: it shows who belongs to the cluster",
        ),
        (
            "[counter]\nseeds = [\"c1\"]\nkey = \"sixteen bytes it has\"\n[node]\nname = \"c2\"",
            "hc.toml:2: counter.seeds = [\"c1\"]: \"c1\" is not HOST:PORT",
        ),
        (
            "[counter]\nseeds = [\"c1:7400\"]\n[node]\nname = \"c2\"",
            "default: counter.key: must be set with counter.seeds, unless tls.peer_ca is: it shows who belongs to the cluster",
        ),
        ("[counter]\nkey = \"short\"", "hc.toml:2: counter.key: must have at least 16 bytes, for whoever guesses it can count"),
        (
            "[counter]\nvotes_memory_bytes = 1000",
            "hc.toml:2: counter.votes_memory_bytes = 1000: must be 0 or at least 16777216: with less, votes would be read from disk again and again",
        ),
        (
            "[counter]\nseeds = [\"c1:7400\"]\nkey = \"sixteen bytes it has\"",
            "default: node.name = \"\": must be set with counter.seeds: a node that has lost its disk comes back under the same name",
        ),
        (
            "[counter]\nseeds = [\"c1:7400\"]\nkey = \"sixteen bytes it has\"\n[node]\nname = \"c2\"\n[listen]\npeer = \"\"",
            "hc.toml:7: listen.peer = \"\": must be set with counter.seeds: other nodes connect to it",
        ),
        ("[presence]\nlease_ttl_s = 1", "hc.toml:2: presence.lease_ttl_s = 1: must be a whole number from 2 to 60"),
        ("[counter]\naddress = \"c1\"", "hc.toml:2: counter.address = \"c1\": must be HOST:PORT"),
        ("[counter]\ncluster = \"a b\"", "hc.toml:2: counter.cluster = \"a b\": must be 1-64 of A-Z a-z 0-9 . _ -"),
        ("[counter]\nack = \"never\"", "hc.toml:2: counter.ack = \"never\": must be one of \"memory\", \"fsync\", \"replicated\""),
        (
            "[namespace_default]\nack = \"never\"",
            "hc.toml:2: namespace_default.ack = \"never\": must be one of \"memory\", \"fsync\", \"replicated\"",
        ),
        (
            "[[namespace]]\nname = \"a\"\ntype = \"votes\"",
            "hc.toml:3: namespace[0].type = \"votes\": must be one of \"counter\", \"unique\", \"seen\", \"bounded\", \"windowed\"",
        ),
        ("[auth]\ndevelopment = \"maybe\"", "hc.toml:2: auth.development = \"maybe\": must be true, false or \"auto\""),
        ("[auth]\nhmac_secrets = \"s\"", "hc.toml:2: auth.hmac_secrets: must be a list of strings that are not empty"),
        ("[auth]\napi_keys = [\"\"]", "hc.toml:2: auth.api_keys: must be a list of strings that are not empty"),
        (
            "[auth]\napi_keys = [\"***\"]",
            "hc.toml:2: auth.api_keys: *** stands for a secret in printed configurations; write the secret itself",
        ),
        ("[auth]\npublic_keys = [\"abc\"]", "hc.toml:2: auth.public_keys: key 1: is no RSA, EC or Ed25519 public key as PEM text"),
        (
            "[auth]\npublic_keys = [\"-----BEGIN PRIVATE KEY-----\"]",
            "hc.toml:2: auth.public_keys: key 1: is a private key; the server needs the public one only",
        ),
        (
            "[[auth.jwks]]\nurl = \"https://id/keys\"",
            "default: auth.jwks[0].issuer = \"\": must be set: keys are trusted for one issuer only",
        ),
        (
            "[auth]\njwks = [{ issuer = \"i\", url = \"http://id/keys\" }]",
            "hc.toml:2: auth.jwks[0].url = \"http://id/keys\": must begin with https:// (http:// on loopback only), because whoever answers it can sign tokens",
        ),
        (
            "[auth]\njwks = [{ issuer = \"i\", url = \"https://id\", uri = 1 }]",
            "hc.toml:2: auth.jwks[0].uri: unknown key; did you mean auth.jwks[0].url?",
        ),
        (
            "[auth]\njwks = [{ issuer = \"i\", url = \"https://a\" }, { issuer = \"i\", url = \"https://b\" }]",
            "hc.toml:2: auth.jwks[1].issuer = \"i\": is there twice",
        ),
        (
            "[auth]\norigins = [\"example.com\"]",
            "hc.toml:2: auth.origins = [\"example.com\"]: \"example.com\" is no origin; write scheme://host[:port] without a path, or \"*\"",
        ),
        (
            "[auth]\norigins = [\"*\"]",
            "hc.toml:2: auth.origins = [\"*\"]: in development mode \"*\" would let every web page in; name the origins",
        ),
        (
            "[log]\nlevel = \"inof\"",
            "hc.toml:2: log.level = \"inof\": must be one of off, error, warn, info, debug, trace, or a filter such as info,gateway=debug",
        ),
        (
            "[log]\nlevel = \"a=loud\"",
            "hc.toml:2: log.level = \"a=loud\": must be one of off, error, warn, info, debug, trace, or a filter such as info,gateway=debug",
        ),
        (
            "[namespace_default]\npresence = \"all\"",
            "hc.toml:2: namespace_default.presence = \"all\": must be true, false or one of \"anyone\", \"authenticated\", \"token\", \"service\"",
        ),
        (
            "[namespace_default]\npublish = true",
            "hc.toml:2: namespace_default.publish = true: must be one of \"anyone\", \"authenticated\", \"token\", \"service\"",
        ),
        (
            "[namespace_default]\nhistory_size = 0\nrecover = true",
            "hc.toml:3: namespace_default.recover = true: needs history, and namespace_default.history_size is 0",
        ),
        ("[namespace]\nname = \"chat\"", "hc.toml:1: namespace = {…}: must be a list of tables: write [[namespace]]"),
        (
            "[[namespace]]\nname = \"counter\"",
            "hc.toml:2: namespace[0].name = \"counter\": is reserved; reserved are counter, presence, contacts, top",
        ),
        ("[[namespace]]\nname = \"a:b\"", "hc.toml:2: namespace[0].name = \"a:b\": a namespace's name holds no ':' '#' '$'"),
        (
            "[[namespace]]\nname = \"chat\"\nhistroy_size = 3",
            "hc.toml:3: namespace[0].histroy_size: unknown key; did you mean namespace[0].history_size?",
        ),
        ("[[namespace]]\nname = \"a\"\n[[namespace]]\nname = \"a\"", "hc.toml:4: namespace[1].name = \"a\": is there twice"),
        ("[[namespaces]]\nname = \"a\"", "hc.toml:1: namespaces: unknown key; did you mean namespace?"),
        ("[limits]\n= 5", "hc.toml:2: unquoted keys cannot be empty, expected letters, numbers, `-`, `_`"),
        ("[limits]\nconnections = 5\nconnections = 6", "hc.toml:3: duplicate key"),
    ] {
        assert_eq!(problems(toml, &[]), [expected], "{toml}");
    }
    assert_eq!(problems(&format!("{secret}[listen]\nclient = \"0.0.0.0:8000\""), &[]), [""; 0]);
    let many: String = (0..101).map(|index| format!("[[namespace]]\nname = \"n{index}\"\n")).collect();
    assert_eq!(problems(&many, &[]), ["hc.toml:1: namespace = […]: 101 namespaces; at most 100 can be configured"]);
}

#[test]
fn no_value_of_any_key_is_too_strange_for_a_clear_answer() {
    let values =
        ["0", "-1", "1e99", "\"\"", "\"x\"", "true", "[]", "[1]", "[\"\"]", "[{}]", "[{ name = 1 }, 2]", "{ a = 1 }", "1979-05-27"];
    for key in Layers::merge(None, &[]).settings.keys() {
        for value in values {
            let (section, leaf) = key.split_once('.').unwrap_or(("", key));
            let file = if section.is_empty() { format!("{leaf} = {value}") } else { format!("[{section}]\n{leaf} = {value}") };
            let variable = format!("HEADCOUNT_{}", key.replace('.', "__").to_uppercase());
            for found in [problems(&file, &[]), problems("", &[(&variable, value)])] {
                assert!(found.iter().all(|problem| problem.contains(leaf)), "{key} = {value}: {found:?}");
            }
        }
    }
}

#[test]
fn all_problems_are_told_at_once() {
    let found = problems("[limits]\nconnections = 0\nstale_timeout_s = 0\n[loog]\nlevel = 1", &[("HEADCOUNT_NODE__REGION", "no region")]);
    assert_eq!(
        found,
        [
            "hc.toml:5: loog.level: unknown key; did you mean log.level?",
            "HEADCOUNT_NODE__REGION: node.region = \"no region\": must be 1-64 of A-Z a-z 0-9 . _ -",
            "hc.toml:2: limits.connections = 0: must be a whole number from 1 to 10000000",
            "hc.toml:3: limits.stale_timeout_s = 0: must be a whole number from 1 to 300",
        ]
    );
}

#[test]
fn development_mode_stays_on_this_machine() {
    let refusal = "in development mode anonymous clients may do everything, so it listens on loopback only; use 127.0.0.1, or set \
                   auth.hmac_secrets, auth.public_keys, auth.jwks or auth.api_keys and leave auth.development at \"auto\"";
    for listener in ["client", "api", "resp"] {
        for address in ["0.0.0.0:8100", "[::]:8100", "192.168.0.7:8100"] {
            let expected = format!("hc.toml:2: listen.{listener} = \"{address}\": {refusal}");
            assert_eq!(problems(&format!("[listen]\n{listener} = \"{address}\""), &[]), [expected]);
        }
        assert_eq!(problems(&format!("[listen]\n{listener} = \"[::1]:8100\""), &[]), [""; 0]);
        assert_eq!(problems(&format!("[auth]\ndevelopment = false\n[listen]\n{listener} = \"0.0.0.0:8100\""), &[]), [""; 0]);
    }
    let asked_for = "[auth]\ndevelopment = true\napi_keys = [\"k\"]\n[listen]\nclient = \"0.0.0.0:0\"";
    assert_eq!(problems(asked_for, &[]).len(), 1);
}

#[test]
fn development_mode_is_on_until_somebody_can_be_authenticated() {
    let development = |toml: &str| load(toml, &[]).unwrap().auth.development;
    assert!(development(""));
    assert!(development("[auth]\norigins = [\"https://app.example\"]"));
    for key in ["hmac_secrets = [\"s\"]", "api_keys = [\"k\"]", "jwks = [{ issuer = \"i\", url = \"https://id/keys\" }]"] {
        assert!(!development(&format!("[auth]\n{key}")));
        assert!(development(&format!("[auth]\ndevelopment = true\n{key}")));
    }
}

#[test]
fn a_variable_wins_over_the_file_and_is_read_by_the_type_of_its_key() {
    let file = "[limits]\nconnections = 5\n[node]\nname = \"file\"\n[[namespace]]\nname = \"gone\"";
    let env = [
        ("HEADCOUNT_LIMITS__CONNECTIONS", "7"),
        ("HEADCOUNT_NODE__NAME", "12"),
        ("HEADCOUNT_NODE__REGION", "\"quoted\""),
        ("HEADCOUNT_AUTH__API_KEYS", "one, two"),
        ("HEADCOUNT_AUTH__HMAC_SECRETS", "[\"with,comma\", \"other\"]"),
        ("HEADCOUNT_AUTH__ORIGINS", "https://App.example"),
        ("HEADCOUNT_AUTH__JWKS", r#"[{"issuer": "i", "url": "https://id/keys"}]"#),
        ("HEADCOUNT_AUTH__DEVELOPMENT", "false"),
        ("HEADCOUNT_NAMESPACE", "[{ name = 'chat', presence = 'token', history_size = 0 }]"),
        ("HEADCOUNT_LISTEN__API", ""),
        ("HEADCOUNT_ETCD__ENDPOINTS", ""),
        ("HEADCOUNT_CONFIG", "hc.toml"),
        ("HEADCOUNT_PORT_8000_TCP", "tcp://10.0.0.1:8000"),
    ];
    let config = load(file, &env).unwrap();
    assert_eq!(config.limits.connections, 7);
    assert_eq!((config.node.name.as_deref(), config.node.region.as_str()), (Some("12"), "quoted"));
    let exposed = |secrets: &[Secret]| secrets.iter().map(|secret| secret.expose().to_owned()).collect::<Vec<_>>();
    assert_eq!(exposed(&config.auth.api_keys), ["one", "two"]);
    assert_eq!(exposed(&config.auth.hmac_secrets), ["with,comma", "other"]);
    assert_eq!(config.auth.origins, ["https://app.example"]);
    assert_eq!(config.auth.jwks, [KeySet { issuer: "i".into(), url: "https://id/keys".into() }]);
    let chat = namespaces(&config).remove(1);
    let grants = Grants { presence: Grant::Token, ..Grants::all(Grant::Authenticated) };
    assert_eq!((chat.name.as_str(), chat.history_size, chat.recover, chat.presence, chat.grants), ("chat", 0, false, true, grants));
}

#[test]
fn a_misspelt_variable_is_told_and_a_foreign_one_is_not() {
    for (name, expected) in [
        ("HEADCOUNT_LIMITS__CONECTIONS", "unknown key; did you mean HEADCOUNT_LIMITS__CONNECTIONS?"),
        ("HEADCOUNT_NODE_NAME", "unknown key; did you mean HEADCOUNT_NODE__NAME?"),
        ("HEADCOUNT_AUTH__HMACSECRETS", "unknown key; did you mean HEADCOUNT_AUTH__HMAC_SECRETS?"),
        ("HEADCOUNT_QUITE__DIFFERENT", "unknown key"),
    ] {
        assert_eq!(problems("", &[(name, "secret")]), [format!("{name}: {expected}")]);
    }
    assert_eq!(problems("", &[("HEADCOUNT_SERVICE_HOST", "10.0.0.1"), ("PATH", "x")]), [""; 0]);
    let bad = problems("", &[("HEADCOUNT_LIMITS__CONNECTIONS", "many"), ("HEADCOUNT_AUTH__API_KEYS", "[1]")]);
    assert_eq!(
        bad,
        [
            "HEADCOUNT_AUTH__API_KEYS: auth.api_keys: must be a list of strings that are not empty",
            "HEADCOUNT_LIMITS__CONNECTIONS: limits.connections = \"many\": must be a whole number from 1 to 10000000",
        ]
    );
}

#[test]
fn a_namespace_has_its_own_defaults_whatever_the_default_namespace_says() {
    let config = load("[namespace_default]\nhistory_size = 7\nsubscribe = \"token\"\n[[namespace]]\nname = \"chat\"", &[]).unwrap();
    let [default, chat] = &namespaces(&config)[..] else { panic!("two namespaces") };
    assert_eq!((default.history_size, default.grants.subscribe), (7, Grant::Token));
    assert_eq!((chat.history_size, chat.grants.subscribe, chat.history_ttl_ms), (100, Grant::Anyone, 300_000));
}

#[test]
fn each_role_binds_the_listeners_that_it_needs() {
    let key = "key = \"sixteen bytes it has\"";
    for (node, counter, bound) in [
        ("", "", ["client", "resp", "admin"].as_slice()),
        ("roles = [\"gateway\", \"counter\"]", "", &["client", "resp", "admin"]),
        ("", "producers = [\"eu/g1\"]", &["client", "resp", "admin", "peer"]),
        ("", "seeds = [\"c2:7400\"]", &["client", "resp", "admin", "peer"]),
        ("roles = [\"counter\"]", "", &["resp", "admin", "peer"]),
        ("roles = [\"gateway\"]", "seeds = [\"c1:7400\"]", &["client", "admin"]),
        ("roles = [\"gateway\"]", "seeds = [\"c1:7400\"]\n[regions]\npeers = [\"us=g1:7400\"]", &["client", "admin", "peer"]),
        ("roles = [\"gateway\", \"counter\"]", "[regions]\npeers = [\"us=g1:7400\"]", &["client", "resp", "admin", "peer"]),
        ("roles = [\"gateway\"]", "[etcd]\nendpoints = [\"http://e:2379\"]", &["client", "admin"]),
    ] {
        let text = format!("[node]\nname = \"n1\"\n{node}\n[counter]\n{key}\n{counter}");
        let Listen { client, api, resp, admin, peer } = load(&text, &[]).unwrap().listen;
        let listeners = [("client", client), ("api", api), ("resp", resp), ("admin", admin), ("peer", peer)];
        let is: Vec<_> = listeners.into_iter().filter_map(|(name, address)| Some((name, address?).0)).collect();
        assert_eq!(is, bound, "{text}");
    }
}

#[test]
fn the_effective_configuration_shows_no_secret_and_loads_again() {
    let file = "[etcd]\nendpoints = [\"http://e:2379\"]\nusername = \"a\"\npassword = \"s3cret-c\"\n[auth]\nhmac_secrets = [\"s3cret-a\"]\napi_keys = [\"s3cret-b\"]\n[[namespace]]\nname = \"a\"\n[[namespace]]\nname = \"b\"\npublish = \"service\"";
    let config = load(file, &[]).unwrap();
    let printed = toml::to_string_pretty(&config.effective).unwrap();
    assert!(!printed.contains("s3cret") && !format!("{config:?}").contains("s3cret"), "{printed}");
    assert!(printed.contains("development = false"), "{printed}");
    let whole = printed.replace("hmac_secrets = \"***\"", "").replace("api_keys = \"***\"", "");
    let again = load(&whole.replace("word = \"***\"", "word = \"x\""), &[]).unwrap();
    assert_eq!(again.namespaces, config.namespaces);
    assert_eq!(config.warnings, ["1 of auth.hmac_secrets shorter than 32 bytes: tokens signed with such a secret can be guessed"]);
}

fn namespaces(config: &Config) -> Vec<Namespace> {
    config.namespaces.iter().cloned().collect()
}
