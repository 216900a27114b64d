//! Pure: the section `[webhooks]`. What a URL and a secret must be, the gateway says.

use super::{
    reader::{Reader, list},
    secret::REDACTED,
};
use gateway::webhooks::{Endpoint, KINDS, Settings, SigningSecret};
use presence::HookKind;
use protocol::namespace::Namespaces;

/// `None` if nobody is to be told.
pub(super) fn read(reader: &mut Reader, namespaces: &Namespaces) -> Option<Settings> {
    let url = reader.optional_text("webhooks.url");
    let secrets = secrets(reader, url.is_some());
    let kinds = kinds(reader);
    let names = reader.read("webhooks.namespaces", |setting| list(setting).ok_or_else(|| "must be a list of strings".to_owned()));
    let names = names.unwrap_or_default();
    let is_known = |name: &&String| namespaces.iter().any(|namespace| namespace.name == **name);
    if let Some(name) = names.iter().find(|name| !is_known(name)) {
        reader.refuse("webhooks.namespaces", format!("{name:?} is no namespace of this configuration"));
    }
    match Endpoint::parse(&url?) {
        Ok(endpoint) => Some(Settings { endpoint, secrets, kinds, namespaces: names }),
        Err(reason) => {
            reader.refuse("webhooks.url", reason);
            None
        }
    }
}

fn secrets(reader: &mut Reader, has_url: bool) -> Vec<SigningSecret> {
    const KEY: &str = "webhooks.secrets";
    let texts = reader.secrets(KEY);
    match (has_url, texts.is_empty()) {
        (true, true) => reader.refuse(KEY, "must be set with webhooks.url: by its signature a service knows a request from anybody else's"),
        (false, false) => reader.refuse(KEY, "needs webhooks.url"),
        _ => {}
    }
    let mut secrets = Vec::new();
    for (index, text) in texts.iter().enumerate() {
        match SigningSecret::parse(text.expose()) {
            Ok(secret) => secrets.push(secret),
            // Told already.
            Err(_) if text.expose() == REDACTED => {}
            Err(bad) => reader.refuse(KEY, format!("secret {}: {bad}", index + 1)),
        }
    }
    secrets
}

/// The kinds that can be chosen; that something may not have been told is always told.
fn kinds(reader: &mut Reader) -> Vec<HookKind> {
    let chosen = reader.texts("webhooks.events");
    let choices = KINDS.iter().filter(|(_, kind)| *kind != HookKind::ResyncNeeded);
    let all = || choices.clone().map(|(label, _)| format!("{label:?}")).collect::<Vec<_>>().join(", ");
    if let Some(unknown) = chosen.iter().find(|name| !choices.clone().any(|(label, _)| label == name)) {
        reader.refuse("webhooks.events", format!("{unknown:?} is no event; the events are {}", all()));
    } else if chosen.is_empty() {
        reader.refuse("webhooks.events", format!("must name some of {}; without webhooks.url nobody is told", all()));
    }
    choices.clone().filter(|(label, _)| chosen.iter().any(|name| name == label)).map(|(_, kind)| *kind).collect()
}

#[cfg(test)]
mod tests {
    use super::super::tests::{load, problems};
    use super::*;

    const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";

    fn with(more: &str) -> String {
        format!("[webhooks]\nurl = \"https://a.example/hooks\"\nsecrets = [\"{SECRET}\"]\n{more}")
    }

    #[test]
    fn nobody_is_told_by_default_and_everything_once_there_is_an_endpoint() {
        assert!(load("", &[]).unwrap().webhooks.is_none());
        let settings = load(&with(""), &[]).unwrap().webhooks.unwrap();
        assert_eq!(settings.endpoint, Endpoint::parse("https://a.example/hooks").unwrap());
        assert_eq!((settings.secrets.len(), settings.namespaces.len()), (1, 0));
        assert_eq!(settings.kinds, [HookKind::Occupied, HookKind::Vacated, HookKind::Online, HookKind::Offline]);
    }

    #[test]
    fn kinds_and_namespaces_are_chosen_in_the_file_or_by_variables() {
        let chosen = |toml: &str, env: &[(&str, &str)]| {
            let settings = load(toml, env).unwrap().webhooks.unwrap();
            (settings.kinds, settings.namespaces)
        };
        let chat = "[[namespace]]\nname = \"chat\"\n";
        let file = with(&format!("events = [\"offline\", \"occupied\"]\nnamespaces = [\"\", \"chat\"]\n{chat}"));
        let expected = (vec![HookKind::Occupied, HookKind::Offline], vec![String::new(), "chat".to_owned()]);
        assert_eq!(chosen(&file, &[]), expected);
        let env = [("HEADCOUNT_WEBHOOKS__EVENTS", "occupied,offline"), ("HEADCOUNT_WEBHOOKS__NAMESPACES", ",chat")];
        assert_eq!(chosen(&with(chat), &env), expected);
        assert_eq!(chosen(&file, &[("HEADCOUNT_WEBHOOKS__NAMESPACES", "")]).1, [""; 0]);
    }

    #[test]
    fn what_cannot_be_is_told_with_place_key_value_and_reason() {
        let bad_secret = "must be whsec_ and the base64 of 24 to 64 random bytes, as `echo whsec_$(openssl rand -base64 32)` prints";
        let url = |url: &str| format!("[webhooks]\nurl = \"{url}\"\nsecrets = [\"{SECRET}\"]");
        let trustworthy = "must begin with https:// (http:// on loopback only), because it says who is where";
        for (toml, expected) in [
            (
                "[webhooks]\nurl = \"https://a.example\"".to_owned(),
                "default: webhooks.secrets: must be set with webhooks.url: by its signature a service knows a request from anybody else's".to_owned(),
            ),
            (
                "[webhooks]\nurl = \"https://a.example\"\nsecrets = []".to_owned(),
                "hc.toml:3: webhooks.secrets: must be set with webhooks.url: by its signature a service knows a request from anybody else's".to_owned(),
            ),
            (format!("[webhooks]\nsecrets = [\"{SECRET}\"]"), "hc.toml:2: webhooks.secrets: needs webhooks.url".to_owned()),
            (
                format!("[webhooks]\nurl = \"https://a.example\"\nsecrets = [\"{SECRET}\", \"tiny\"]"),
                format!("hc.toml:3: webhooks.secrets: secret 2: {bad_secret}"),
            ),
            (
                "[webhooks]\nurl = \"https://a.example\"\nsecrets = [\"***\"]".to_owned(),
                "hc.toml:3: webhooks.secrets: *** stands for a secret in printed configurations; write the secret itself".to_owned(),
            ),
            (url("http://a.example/x"), format!("hc.toml:2: webhooks.url = \"http://a.example/x\": {trustworthy}")),
            (url("a.example"), format!("hc.toml:2: webhooks.url = \"a.example\": {trustworthy}")),
            (
                url("https://ann:pass@a.example/"),
                "hc.toml:2: webhooks.url = \"https://ann:pass@a.example/\": must not hold a user or a password: requests are signed instead"
                    .to_owned(),
            ),
            (url("ftp://localhost/"), format!("hc.toml:2: webhooks.url = \"ftp://localhost/\": {trustworthy}")),
            (
                with("events = [\"ocupied\"]"),
                "hc.toml:4: webhooks.events = [\"ocupied\"]: \"ocupied\" is no event; the events are \"occupied\", \"vacated\", \"online\", \
                 \"offline\""
                    .to_owned(),
            ),
            (
                with("events = []"),
                "hc.toml:4: webhooks.events = []: must name some of \"occupied\", \"vacated\", \"online\", \"offline\"; without webhooks.url \
                 nobody is told"
                    .to_owned(),
            ),
            (
                with("namespaces = [\"chta\"]"),
                "hc.toml:4: webhooks.namespaces = [\"chta\"]: \"chta\" is no namespace of this configuration".to_owned(),
            ),
            (with("namespaces = \"chat\""), "hc.toml:4: webhooks.namespaces = \"chat\": must be a list of strings".to_owned()),
            (with("secret = \"x\""), "hc.toml:4: webhooks.secret: unknown key; did you mean webhooks.secrets?".to_owned()),
        ] {
            assert_eq!(problems(&toml, &[]), [expected], "{toml}");
        }
    }

    #[test]
    fn secrets_are_shown_neither_by_the_printed_configuration_nor_in_debug_output() {
        let config = load(&with(""), &[]).unwrap();
        let printed = toml::to_string_pretty(&config.effective).unwrap();
        let shown = format!("{printed}{config:?}");
        assert!(
            !shown.contains("whsec_") && printed.contains("secrets = \"***\"") && printed.contains("https://a.example/hooks"),
            "{shown}"
        );
    }
}
