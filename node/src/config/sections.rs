//! Pure: each section of the configuration, key by key, each value checked by itself.

use super::{
    Audit, Auth, Config, Counter, KeySet, Listen, Log, LogFormat, Node, Presence, Roles, Shutdown, Traces, Values, etcd, limits, namespace,
    reader::{Reader, choice, text},
    redis::Redis,
    regions::Regions,
    secret::Secret,
    sinks,
    tls::{Own, Tls},
    webhooks,
};
use jsonwebtoken::DecodingKey;
use ring_coordinator::etcd::lease::LEASE_TTL_MIN_MS;

/// RFC 7518, section 3.2: a key for HS256 has at least this many bytes. Shorter ones are warned about.
const HMAC_SECRET_BYTES_MIN: usize = 32;

/// Bytes of the cluster's key; shorter ones are refused.
const PEER_KEY_BYTES_MIN: usize = 16;
/// Less is not worth the reads.
const VOTES_MEMORY_BYTES_MIN: u64 = 16 << 20;

/// What `log.level` may be without a module's name.
const LEVELS: [&str; 6] = ["off", "error", "warn", "info", "debug", "trace"];

impl Config {
    pub(super) fn read(reader: &mut Reader, values: Values) -> Config {
        let node = node(reader);
        let counter = counter(reader);
        let regions = Regions::read(reader, &node.region);
        let listen = listen(reader, node.roles, &counter, &regions);
        let auth = auth(reader);
        let client_tls = Own::read_for_clients(reader, node.roles.gateway);
        let namespaces = namespace::read(reader, auth.development);
        let webhooks = webhooks::read(reader, &namespaces);
        let sinks = sinks::read(reader, &namespaces);
        Config {
            warnings: warnings(&auth.hmac_secrets),
            node,
            listen,
            auth,
            namespaces,
            presence: Presence {
                grace_ms: reader.seconds_as_ms("presence.grace_s", 0..=300),
                lease_ttl_ms: reader.seconds_as_ms("presence.lease_ttl_s", LEASE_TTL_MIN_MS / 1_000..=60),
            },
            webhooks,
            counter,
            sinks,
            etcd: etcd::read(reader),
            redis: Redis::read(reader),
            regions,
            limits: limits::read(reader),
            tls: Tls::read(reader),
            client_tls,
            log: log(reader),
            traces: Traces::read(reader),
            audit: Audit { path: reader.optional_text("audit.path").map(Into::into), reads: reader.flag("audit.reads") },
            shutdown: Shutdown { drain_ms: reader.seconds_as_ms("shutdown.drain_s", 0..=3600) },
            effective: toml::Table::new(),
            values,
        }
    }
}

fn node(reader: &mut Reader) -> Node {
    let roles = roles(reader);
    let name = reader.optional_text("node.name");
    let region = reader.text("node.region");
    for (key, text) in [("node.name", name.as_deref()), ("node.region", Some(region.as_str()))] {
        if text.is_some_and(|text| !is_identifier(text)) {
            reader.refuse(key, "must be 1-64 of A-Z a-z 0-9 . _ -");
        }
    }
    let data_dir = reader.text("node.data_dir");
    if data_dir.is_empty() {
        reader.refuse("node.data_dir", "must name a directory");
    }
    let (io_uring, watchdog_ms) = (reader.flag("node.io_uring"), reader.seconds_as_ms("node.watchdog_s", 0..=3600));
    Node { roles, name, region, data_dir: data_dir.into(), io_uring, watchdog_ms }
}

fn roles(reader: &mut Reader) -> Roles {
    let roles = reader.texts("node.roles");
    let has = |role: &str| roles.iter().any(|known| known == role);
    if let Some(role) = roles.iter().find(|role| !["all", "gateway", "counter", "coordinator"].contains(&role.as_str())) {
        reader.refuse("node.roles", format!("{role:?} is no role; the roles are \"all\", \"gateway\", \"counter\", \"coordinator\""));
    } else if roles.is_empty() {
        reader.refuse("node.roles", "must name a role: \"all\", or some of \"gateway\", \"counter\", \"coordinator\"");
    } else if has("all") && roles.len() > 1 {
        reader.refuse("node.roles", "\"all\" stands alone: write [\"all\"], or name the roles");
    }
    let [gateway, counter, coordinator] = ["gateway", "counter", "coordinator"].map(|role| has("all") || has(role));
    Roles { gateway, counter, coordinator }
}

fn listen(reader: &mut Reader, roles: Roles, counter: &Counter, regions: &Regions) -> Listen {
    let client = reader.address("listen.client");
    if client.is_none() && roles.gateway {
        reader.refuse("listen.client", "must be set: without it no client can connect");
    }
    let has_counting_peers = roles.counter && (!roles.gateway || !counter.seeds.is_empty() || !counter.producers.is_empty());
    let has_peers = has_counting_peers || (roles.gateway && !regions.peers.is_empty());
    Listen {
        client: client.filter(|_| roles.gateway),
        api: reader.address("listen.api").filter(|_| roles.gateway),
        resp: reader.address("listen.resp").filter(|_| roles.counter),
        admin: reader.address("listen.admin"),
        peer: reader.address("listen.peer").filter(|_| has_peers),
    }
}

fn auth(reader: &mut Reader) -> Auth {
    let hmac_secrets = reader.secrets("auth.hmac_secrets");
    let api_keys = reader.secrets("auth.api_keys");
    let public_keys = reader.texts("auth.public_keys");
    for (index, key) in public_keys.iter().enumerate() {
        if let Err(reason) = check_public_key(key) {
            reader.refuse("auth.public_keys", format!("key {}: {reason}", index + 1));
        }
    }
    let mut jwks: Vec<KeySet> = Vec::new();
    for index in 0..reader.tables("auth.jwks") {
        let set = key_set(reader, index);
        if jwks.iter().any(|other| other.issuer == set.issuer) {
            reader.refuse(&format!("auth.jwks[{index}].issuer"), "is there twice");
        }
        jwks.push(set);
    }
    let origins: Vec<String> = reader.texts("auth.origins").iter().map(|origin| origin.to_lowercase()).collect();
    if let Some(origin) = origins.iter().find(|origin| !is_origin(origin)) {
        reader.refuse("auth.origins", format!("{origin:?} is no origin; write scheme://host[:port] without a path, or \"*\""));
    }
    let nothing_configured = hmac_secrets.is_empty() && api_keys.is_empty() && public_keys.is_empty() && jwks.is_empty();
    let asked = reader.read("auth.development", |setting| match setting.value.as_bool() {
        Some(asked) => Ok(Some(asked)),
        None => choice(setting, &[("auto", None)]).map_err(|_| "must be true, false or \"auto\"".to_owned()),
    });
    let development = asked.flatten().unwrap_or(nothing_configured);
    reader.resolve("auth.development", development);
    let audience = reader.optional_text("auth.audience");
    let issuer = reader.optional_text("auth.issuer");
    Auth { development, hmac_secrets, public_keys, jwks, api_keys, origins, audience, issuer }
}

fn key_set(reader: &mut Reader, index: usize) -> KeySet {
    let key = |field: &str| format!("auth.jwks[{index}].{field}");
    let set = KeySet { issuer: reader.text(&key("issuer")), url: reader.text(&key("url")) };
    if set.issuer.is_empty() {
        reader.refuse(&key("issuer"), "must be set: keys are trusted for one issuer only");
    }
    let host = |scheme: &str| set.url.strip_prefix(scheme).map(|rest| rest.split(['/', '?', '#']).next().unwrap_or_default().to_owned());
    let safe = match (host("https://"), host("http://")) {
        (Some(host), _) => !host.is_empty(),
        (_, Some(host)) => ["127.0.0.1", "localhost", "[::1]"].iter().any(|own| host == *own || host.starts_with(&format!("{own}:"))),
        _ => false,
    };
    if !safe {
        reader.refuse(&key("url"), "must begin with https:// (http:// on loopback only), because whoever answers it can sign tokens");
    }
    set
}

fn counter(reader: &mut Reader) -> Counter {
    let seeds = reader.texts("counter.seeds");
    if let Some(seed) = seeds.iter().find(|seed| !is_host_and_port(seed)) {
        reader.refuse("counter.seeds", format!("{seed:?} is not HOST:PORT"));
    }
    let address = reader.optional_text("counter.address");
    if address.as_deref().is_some_and(|address| !is_host_and_port(address)) {
        reader.refuse("counter.address", "must be HOST:PORT");
    }
    let cluster = reader.text("counter.cluster");
    if !is_identifier(&cluster) {
        reader.refuse("counter.cluster", "must be 1-64 of A-Z a-z 0-9 . _ -");
    }
    let key = reader.optional_secret("counter.key");
    if key.as_ref().is_some_and(|key| key.expose().len() < PEER_KEY_BYTES_MIN) {
        reader.refuse("counter.key", format!("must have at least {PEER_KEY_BYTES_MIN} bytes, for whoever guesses it can count"));
    }
    let producers = reader.texts("counter.producers");
    let is_member = |text: &str| text.split_once('/').is_some_and(|(region, node)| is_identifier(region) && is_identifier(node));
    if let Some(producer) = producers.iter().find(|producer| !is_member(producer)) {
        reader.refuse("counter.producers", format!("{producer:?} is not REGION/NODE"));
    }
    let votes_memory_bytes = reader.number("counter.votes_memory_bytes", 0..=1 << 46);
    if (1..VOTES_MEMORY_BYTES_MIN).contains(&votes_memory_bytes) {
        reader.refuse(
            "counter.votes_memory_bytes",
            format!("must be 0 or at least {VOTES_MEMORY_BYTES_MIN}: with less, votes would be read from disk again and again"),
        );
    }
    Counter { seeds, cluster, key, address, producers, votes_memory_bytes }
}

fn log(reader: &mut Reader) -> Log {
    let level = reader.read("log.level", |setting| {
        let level = text(setting)?;
        if is_filter(&level) {
            Ok(level)
        } else {
            Err(format!("must be one of {}, or a filter such as info,gateway=debug", LEVELS.join(", ")))
        }
    });
    let formats = [("auto", LogFormat::Auto), ("pretty", LogFormat::Pretty), ("json", LogFormat::Json)];
    let lines_per_event = u32::try_from(reader.number("log.lines_per_event", 0..=1_000_000)).unwrap_or(u32::MAX);
    Log { level: level.unwrap_or_default(), format: reader.choice("log.format", &formats), lines_per_event }
}

/// The parser of filters takes any word that is no level for the name of a module, so that a slip would silence the log.
fn is_filter(text: &str) -> bool {
    let words_are_levels = text.split(',').all(|part| part.contains('=') || LEVELS.contains(&part.trim()));
    words_are_levels && tracing_subscriber::EnvFilter::builder().parse(text).is_ok()
}

fn warnings(hmac_secrets: &[Secret]) -> Vec<String> {
    let weak = hmac_secrets.iter().filter(|secret| secret.expose().len() < HMAC_SECRET_BYTES_MIN).count();
    let text =
        format!("{weak} of auth.hmac_secrets shorter than {HMAC_SECRET_BYTES_MIN} bytes: tokens signed with such a secret can be guessed");
    if weak > 0 { vec![text] } else { Vec::new() }
}

fn check_public_key(pem: &str) -> Result<(), &'static str> {
    let bytes = pem.as_bytes();
    if pem.contains("PRIVATE KEY") {
        return Err("is a private key; the server needs the public one only");
    }
    let usable = [DecodingKey::from_rsa_pem, DecodingKey::from_ec_pem, DecodingKey::from_ed_pem].iter().any(|parse| parse(bytes).is_ok());
    if usable { Ok(()) } else { Err("is no RSA, EC or Ed25519 public key as PEM text") }
}

/// What names a node or region: such names stand in file names, metrics and counter replicas.
pub(super) fn is_identifier(text: &str) -> bool {
    (1..=64).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(&byte))
}

fn is_origin(text: &str) -> bool {
    let host = text.split_once("://").map(|(scheme, host)| (scheme.bytes().all(|byte| byte.is_ascii_alphanumeric()), host));
    text == "*" || host.is_some_and(|(scheme, host)| scheme && !host.is_empty() && !host.contains(['/', '?', '#', '@', ' ', '*']))
}

pub(super) fn is_host_and_port(text: &str) -> bool {
    text.rsplit_once(':')
        .is_some_and(|(host, port)| !host.is_empty() && text.len() <= 255 && port.parse::<u16>().is_ok_and(|port| port > 0))
}
