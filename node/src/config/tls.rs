//! Pure: the section `[tls]`: which files, and what is wrong with what they hold. Whoever starts a node hands their contents in.

use super::{BadConfig, layers::Problem, reader::Reader};
use crate::certificates::Files;
use peering::{
    BadCertificate, Certificate,
    tls::{BadPeerTls, PeerTls},
};
use std::{
    io,
    path::{Path, PathBuf},
};

/// The files of TLS between nodes.
#[derive(Clone, Debug)]
pub struct Tls {
    own: Own,
    peer_ca: File,
}

/// The files of a certificate that this node shows.
#[derive(Clone, Debug)]
pub struct Own {
    cert: File,
    key: File,
}

#[derive(Clone, Debug)]
struct File {
    key: &'static str,
    path: PathBuf,
    /// Who said so.
    place: String,
}

impl Tls {
    /// `None` if the keys are unset.
    pub(super) fn read(reader: &mut Reader) -> Option<Tls> {
        let [cert, key, peer_ca] = ["tls.cert", "tls.key", "tls.peer_ca"].map(|key| (key, path(reader, key)));
        for (key, file) in [&cert, &key] {
            match (file, &peer_ca.1) {
                (None, Some(_)) => reader.refuse(key, "must be set with tls.peer_ca: peers want to see this node's certificate too"),
                (Some(_), None) => reader.refuse(key, "needs tls.peer_ca: it is shown to other nodes; clients are shown tls.client_cert"),
                _ => {}
            }
        }
        let mut file = |(key, path)| file(reader, key, path);
        Some(Tls { own: Own { cert: file(cert)?, key: file(key)? }, peer_ca: file(peer_ca)? })
    }

    /// Takes the files' contents from `read`; every file that cannot be read, or else the first that is bad, is told.
    pub fn open(&self, read: impl Fn(&Path) -> io::Result<Vec<u8>>) -> Result<PeerTls, BadConfig> {
        let Tls { own, peer_ca } = self;
        let [cert, key, ca] = contents([&own.cert, &own.key, peer_ca], read)?;
        PeerTls::new(&cert, &key, &ca).map_err(|bad| match bad {
            BadPeerTls::Own(bad) => own.bad(&bad),
            BadPeerTls::PeerCa(_) => BadConfig(vec![peer_ca.problem(&bad.to_string())]),
        })
    }

    /// The files of this node's own certificate.
    #[must_use]
    pub fn own(&self) -> &Own {
        &self.own
    }
}

impl Own {
    /// What clients are shown; `None` if the keys are unset.
    pub(super) fn read_for_clients(reader: &mut Reader, is_gateway: bool) -> Option<Own> {
        let [cert, key] = ["tls.client_cert", "tls.client_key"].map(|key| (key, path(reader, key)));
        match (&cert.1, &key.1) {
            (Some(_), None) => reader.refuse(key.0, "must be set with tls.client_cert"),
            (None, Some(_)) => reader.refuse(cert.0, "must be set with tls.client_key"),
            (Some(_), Some(_)) if !is_gateway => reader.refuse(cert.0, "is for nodes with the role \"gateway\"; others have no clients"),
            _ => {}
        }
        let mut file = |(key, path)| file(reader, key, path);
        Some(Own { cert: file(cert)?, key: file(key)? })
    }

    /// Takes the files' contents from `read`; every file that cannot be read, or else the one that is bad, is told.
    pub fn open(&self, read: impl Fn(&Path) -> io::Result<Vec<u8>>) -> Result<Certificate, BadConfig> {
        let [cert, key] = contents([&self.cert, &self.key], read)?;
        Certificate::from_pem(&cert, &key).map_err(|bad| self.bad(&bad))
    }

    /// Where they are.
    #[must_use]
    pub fn files(&self) -> Files {
        Files { cert: self.cert.path.clone(), key: self.key.path.clone() }
    }

    fn bad(&self, bad: &BadCertificate) -> BadConfig {
        let file = match bad {
            BadCertificate::Cert(_) => &self.cert,
            BadCertificate::Key(_) => &self.key,
        };
        BadConfig(vec![file.problem(&bad.to_string())])
    }
}

fn path(reader: &mut Reader, key: &'static str) -> Option<String> {
    let path = reader.optional_text(key);
    if path.as_ref().is_some_and(|path| path.contains("-----BEGIN")) {
        reader.refuse(key, "is what the file should hold: write the file's path");
    }
    path
}

fn file(reader: &mut Reader, key: &'static str, path: Option<String>) -> Option<File> {
    Some(File { key, path: path?.into(), place: reader.place(key) })
}

fn contents<const N: usize>(files: [&File; N], read: impl Fn(&Path) -> io::Result<Vec<u8>>) -> Result<[Vec<u8>; N], BadConfig> {
    let mut problems = Vec::new();
    let contents = files.map(|file| {
        read(&file.path).unwrap_or_else(|error| {
            problems.push(file.problem(&format!("cannot be read: {error}")));
            Vec::new()
        })
    });
    if problems.is_empty() { Ok(contents) } else { Err(BadConfig(problems)) }
}

impl File {
    fn problem(&self, reason: &str) -> Problem {
        Problem { place: self.place.clone(), text: format!("{} = {:?}: {reason}", self.key, self.path) }
    }
}

#[cfg(test)]
mod tests {
    use super::super::{
        BadConfig,
        tests::{load, problems},
    };

    const TLS: &str = "[tls]\ncert = \"c.pem\"\nkey = \"k.pem\"\npeer_ca = \"ca.pem\"";

    #[test]
    fn with_certificates_the_key_of_the_cluster_may_be_left_out() {
        let seeds = "[counter]\nseeds = [\"c1:7400\"]\n[node]\nname = \"c2\"\n";
        assert_eq!(problems(&format!("{seeds}{TLS}"), &[]), [""; 0]);
        assert!(load(TLS, &[]).unwrap().tls.is_some() && load("", &[]).unwrap().tls.is_none());
    }

    #[test]
    fn clients_are_shown_a_certificate_that_is_read_with_its_key() {
        let tls = "[tls]\nclient_cert = \"c.pem\"\nclient_key = \"k.pem\"";
        let own = load(tls, &[]).unwrap().client_tls.unwrap();
        let certificate = rcgen::generate_simple_self_signed(["live.example".to_owned()]).unwrap();
        let (cert, key) = (certificate.cert.pem(), certificate.signing_key.serialize_pem());
        let read = |path: &std::path::Path| Ok(if path.ends_with("c.pem") { cert.clone() } else { key.clone() }.into_bytes());
        assert!(own.open(read).is_ok() && load(tls, &[]).unwrap().tls.is_none() && load("", &[]).unwrap().client_tls.is_none());
        let Err(BadConfig(found)) = own.open(|_| Ok(cert.clone().into_bytes())) else { panic!("a certificate is no key") };
        assert!(found[0].to_string().starts_with("hc.toml:3: tls.client_key = \"k.pem\": has no private key in PEM form"), "{found:?}");
        let counters = "[node]\nroles = [\"counter\"]\nname = \"c1\"\n[counter]\nkey = \"sixteen bytes it has\"\n";
        for (toml, expected) in [
            ("[tls]\nclient_cert = \"c.pem\"".to_owned(), "default: tls.client_key = \"\": must be set with tls.client_cert"),
            ("[tls]\nclient_key = \"k.pem\"".to_owned(), "default: tls.client_cert = \"\": must be set with tls.client_key"),
            (
                format!("{counters}{tls}"),
                "hc.toml:7: tls.client_cert = \"c.pem\": is for nodes with the role \"gateway\"; others have no clients",
            ),
        ] {
            assert_eq!(problems(&toml, &[]), [expected], "{toml}");
        }
    }

    #[test]
    fn bad_files_of_certificates_are_told_with_place_key_path_and_reason() {
        let authority = rcgen::generate_simple_self_signed(["ca.example".to_owned()]).unwrap();
        let other = rcgen::generate_simple_self_signed(["c1.example".to_owned()]).unwrap();
        let (cert, key, stranger) = (authority.cert.pem(), authority.signing_key.serialize_pem(), other.signing_key.serialize_pem());
        let found = |cert: &str, key: &str, peer_ca: &str| {
            let read = |path: &std::path::Path| match path.to_str() {
                Some("c.pem") => Ok(cert.to_owned().into_bytes()),
                Some("k.pem") => Ok(key.to_owned().into_bytes()),
                Some("ca.pem") => Ok(peer_ca.to_owned().into_bytes()),
                path => panic!("{path:?}"),
            };
            let opened = load(TLS, &[]).unwrap().tls.unwrap().open(read);
            opened.map_err(|BadConfig(problems)| problems.iter().map(ToString::to_string).collect::<Vec<_>>()).err().unwrap_or_default()
        };
        assert_eq!(found(&cert, &key, &cert), [""; 0]);
        let no_certificate = "has no certificate in PEM form (-----BEGIN CERTIFICATE-----)";
        let half: String = cert.lines().take(3).collect::<Vec<_>>().join("\n");
        let nonsense = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
        let nonsense_key = "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n";
        let no_key = "has no private key in PEM form (-----BEGIN PRIVATE KEY-----); one with a passphrase cannot be used";
        for (files, expected) in [
            ((key.as_str(), key.as_str(), cert.as_str()), format!("hc.toml:2: tls.cert = \"c.pem\": {no_certificate}")),
            ((&half, &key, &cert), "hc.toml:2: tls.cert = \"c.pem\": is damaged: ".to_owned()),
            ((nonsense, &key, &cert), "hc.toml:2: tls.cert = \"c.pem\": begins with no certificate: BadEncoding".to_owned()),
            ((&cert, &cert, &cert), format!("hc.toml:3: tls.key = \"k.pem\": {no_key}")),
            ((&cert, nonsense_key, &cert), "hc.toml:3: tls.key = \"k.pem\": is no private key that can be used: ".to_owned()),
            ((&cert, &stranger, &cert), "hc.toml:3: tls.key = \"k.pem\": does not fit the certificate".to_owned()),
            ((&cert, &key, ""), format!("hc.toml:4: tls.peer_ca = \"ca.pem\": {no_certificate}")),
            ((&cert, &key, nonsense), "hc.toml:4: tls.peer_ca = \"ca.pem\": is no certificate of an authority: ".to_owned()),
        ] {
            let problems = found(files.0, files.1, files.2);
            assert!(problems.len() == 1 && problems[0].starts_with(&expected), "{problems:?} instead of {expected}");
        }
        let opened = load(TLS, &[]).unwrap().tls.unwrap().open(|_| Err(std::io::ErrorKind::NotFound.into()));
        let Err(BadConfig(missing)) = opened else { panic!("files that are not there were read") };
        let missing: Vec<String> = missing.iter().map(ToString::to_string).collect();
        let expected = [(2, "cert", "c.pem"), (3, "key", "k.pem"), (4, "peer_ca", "ca.pem")]
            .map(|(line, key, path)| format!("hc.toml:{line}: tls.{key} = {path:?}: cannot be read: entity not found"));
        assert_eq!(missing, expected);
    }
}
