//! Pure: the section `[etcd]`. What its values must be to each other, [`Access`] says.

use super::reader::Reader;
use ring_coordinator::etcd::Access;
use std::path::PathBuf;

/// `None` if the keys are unset.
pub(super) fn read(reader: &mut Reader) -> Option<Access> {
    let username = reader.optional_text("etcd.username");
    let password = reader.optional_secret("etcd.password").map(|secret| secret.expose().to_owned());
    let [ca, cert, key] = ["etcd.ca", "etcd.cert", "etcd.key"].map(|key| {
        let path = reader.optional_text(key);
        if path.as_ref().is_some_and(|path| path.contains("-----BEGIN")) {
            reader.refuse(key, "is what the file should hold: write the file's path");
        }
        path.map(PathBuf::from)
    });
    let access = Access { endpoints: reader.texts("etcd.endpoints"), username, password, ca, cert, key, domain: None };
    if access == Access::default() {
        return None;
    }
    for (key, reason) in access.flaws() {
        reader.refuse(&format!("etcd.{key}"), reason);
    }
    Some(access)
}

#[cfg(test)]
mod tests {
    use super::super::tests::problems;

    #[test]
    fn what_cannot_be_is_told_with_place_key_value_and_reason() {
        for (toml, expected) in [
            ("[etcd]\nusername = \"a\"\npassword = \"b\"", "hc.toml:2: etcd.username = \"a\": needs etcd.endpoints"),
            (
                "[etcd]\nendpoints = [\"http://e:2379\"]\npassword = \"wonder\"",
                "default: etcd.username = \"\": must be set with etcd.password",
            ),
            (
                "[etcd]\nendpoints = [\"https://e:2379\"]",
                "default: etcd.ca = \"\": must be set with https:// in etcd.endpoints: no authority is trusted by itself",
            ),
            (
                "[etcd]\nendpoints = [\"https://e:2379\"]\nca = \"-----BEGIN CERTIFICATE-----\"",
                "hc.toml:3: etcd.ca = \"-----BEGIN CERTIFICATE-----\": is what the file should hold: write the file's path",
            ),
            (
                "[etcd]\nendpoints = [\"http://e:2379\"]\n[node]\nname = \"c1\"\nroles = [\"counter\"]\n[counter]\nkey = \"sixteen bytes it has\"\n[listen]\npeer = \"0.0.0.0:7400\"",
                "default: counter.address = \"\": must be set with etcd.endpoints where listen.peer is every address: gateways are told it",
            ),
        ] {
            assert_eq!(problems(toml, &[]), [expected], "{toml}");
        }
    }
}
