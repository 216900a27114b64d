//! Pure: `[namespace_default]` and `[[namespace]]` as the namespaces that every other crate knows.

use super::reader::{Reader, choice, text};
use protocol::{
    counting::{Ack, CounterType},
    name::Name,
    namespace::{Grant, Grants, Namespace, Namespaces, RESERVED},
    window::{KEPT_MAX, Kept},
};

/// Namespaces that can be configured; one more is refused. Metrics are labelled by namespace, so their number is bounded.
const NAMESPACES_MAX: usize = 100;

/// What the demo page likes: where nobody has configured any namespaces, development mode has these, in which likes are votes.
const OF_THE_DEMO: [&str; 2] = ["likes", "songs"];

/// Reads all namespaces; in `development` the default grants are [`Grant::Anyone`].
pub(super) fn read(reader: &mut Reader, development: bool) -> Namespaces {
    let ack = reader.read("counter.ack", |setting| choice(setting, &Ack::NAMES)).unwrap_or_default();
    let default = namespace(reader, "namespace_default", String::new(), development, ack);
    let count = reader.tables("namespace");
    if count > NAMESPACES_MAX {
        reader.refuse("namespace", format!("{count} namespaces; at most {NAMESPACES_MAX} can be configured"));
    }
    let mut named: Vec<Namespace> = Vec::new();
    for index in 0..count {
        let section = format!("namespace[{index}]");
        let key = format!("{section}.name");
        let name = reader.text(&key);
        if let Err(reason) = check_name(&name) {
            reader.refuse(&key, reason);
        } else if named.iter().any(|other| other.name == name) {
            reader.refuse(&key, "is there twice");
        }
        named.push(namespace(reader, &section, name, development, ack));
    }
    if development && count == 0 {
        let of_the_demo = |name: &str| Namespace { name: name.to_owned(), counter_type: CounterType::Unique, ..default.clone() };
        named.extend(OF_THE_DEMO.map(of_the_demo));
    }
    Namespaces::new(default, named)
}

fn namespace(reader: &mut Reader, section: &str, name: String, development: bool, ack: Ack) -> Namespace {
    let key = |field: &str| format!("{section}.{field}");
    let standard = if development { Grant::Anyone } else { Grant::Authenticated };
    let history_size = reader.count(&key("history_size"), 0..=100_000);
    let mut recover = reader.flag(&key("recover"));
    if recover && history_size == 0 {
        if !reader.is_default(&key("recover")) {
            reader.refuse(&key("recover"), format!("needs history, and {} is 0", key("history_size")));
        }
        recover = false;
        reader.resolve(&key("recover"), false);
    }
    let own_ack = reader
        .read(&key("ack"), |setting| match text(setting)?.as_str() {
            "" => Ok(None),
            _ => choice(setting, &Ack::NAMES).map(Some),
        })
        .flatten();
    reader.resolve(&key("ack"), own_ack.unwrap_or(ack).name());
    let (presence, seen_by) = presence(reader, &key("presence"), standard);
    let counter_type = reader.choice(&key("type"), &CounterType::NAMES);
    let kept = kept(reader, &key, counter_type);
    Namespace {
        name,
        presence,
        join_leave: reader.flag(&key("join_leave")),
        history_size,
        history_ttl_ms: reader.seconds_as_ms(&key("history_ttl_s"), 1..=365 * 24 * 3600),
        recover,
        global: reader.flag(&key("global")),
        flush_ms: reader.number(&key("flush_ms"), 0..=1000),
        counter_type,
        kept,
        ack: own_ack.unwrap_or(ack),
        grants: Grants {
            subscribe: grant(reader, &key("subscribe"), standard),
            publish: grant(reader, &key("publish"), standard),
            presence: seen_by,
            history: grant(reader, &key("history"), standard),
            counter_get: grant(reader, &key("counter_get"), standard),
            counter_add: grant(reader, &key("counter_add"), standard),
        },
    }
}

/// How many buckets of each unit can be read.
fn kept(reader: &mut Reader, key: &dyn Fn(&str) -> String, counter_type: CounterType) -> Kept {
    let mut buckets = |field: &str| reader.number(&key(field), 0..=u64::from(KEPT_MAX)).try_into().unwrap_or(KEPT_MAX);
    let kept = Kept { minutes: buckets("windows_minutes"), hours: buckets("windows_hours"), days: buckets("windows_days") };
    if counter_type == CounterType::Windowed && kept.units().next().is_none() {
        reader.refuse(&key("type"), "is windowed, and no windows are kept: set windows_minutes, windows_hours or windows_days above 0");
    }
    kept
}

fn grant(reader: &mut Reader, key: &str, standard: Grant) -> Grant {
    let configured = reader.choice(key, &Grant::NAMES);
    let grant = if reader.is_default(key) { standard } else { configured };
    reader.resolve(key, name_of(grant));
    grant
}

/// The switch and the right in one: `true`, `false`, or who may see the roster that is kept.
fn presence(reader: &mut Reader, key: &str, standard: Grant) -> (bool, Grant) {
    let read = reader.read(key, |setting| match setting.value.as_bool() {
        Some(kept) => Ok((kept, standard)),
        None => choice(setting, &Grant::NAMES)
            .map(|grant| (true, grant))
            .map_err(|reason| reason.replace("must be one of", "must be true, false or one of")),
    });
    let (kept, grant) = read.unwrap_or((true, standard));
    if kept {
        reader.resolve(key, name_of(grant));
    }
    (kept, grant)
}

fn name_of(grant: Grant) -> &'static str {
    Grant::NAMES.iter().find(|(_, known)| *known == grant).map_or("", |(name, _)| name)
}

fn check_name(name: &str) -> Result<(), String> {
    Name::parse(name).map_err(|error| error.to_string())?;
    if name.contains([':', '#', '$']) {
        return Err("a namespace's name holds no ':' '#' '$'".to_owned());
    }
    if RESERVED.contains(&name) {
        return Err(format!("is reserved; reserved are {}", RESERVED.join(", ")));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::{super::tests::load, *};

    #[test]
    fn only_development_mode_without_any_namespaces_has_those_of_the_demo_page() {
        let named = |toml: &str| -> Vec<(String, CounterType, Grant)> {
            let namespaces = load(toml, &[]).unwrap().namespaces;
            let named = namespaces.iter().skip(1);
            named.map(|namespace| (namespace.name.clone(), namespace.counter_type, namespace.grants.counter_add)).collect()
        };
        let of_the_demo = ["likes", "songs"].map(|name| (name.to_owned(), CounterType::Unique, Grant::Anyone));
        assert_eq!(named(""), of_the_demo);
        assert_eq!(named("[[namespace]]\nname = \"chat\""), [("chat".to_owned(), CounterType::Counter, Grant::Anyone)]);
        assert_eq!(named("[auth]\napi_keys = [\"k\"]"), []);
    }
}
