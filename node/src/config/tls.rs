//! Pure: the section `[tls]`: which files, and what is wrong with what they hold. Whoever starts a node hands their contents in.

use super::{BadConfig, layers::Problem, reader::Reader};
use counter::peer_tls::{BadPeerTls, PeerTls};
use std::{
    io,
    path::{Path, PathBuf},
};

/// The files of TLS between counter nodes.
#[derive(Clone, Debug)]
pub struct Tls {
    cert: File,
    key: File,
    peer_ca: File,
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
        let [cert, key, peer_ca] = ["tls.cert", "tls.key", "tls.peer_ca"].map(|key| (key, reader.optional_text(key)));
        for (key, file) in [&cert, &key] {
            match (file, &peer_ca.1) {
                (None, Some(_)) => reader.refuse(key, "must be set with tls.peer_ca: peers want to see this node's certificate too"),
                (Some(_), None) => reader.refuse(
                    key,
                    "needs tls.peer_ca: this version of headcount has TLS among counter nodes only; for clients, put a proxy in front",
                ),
                _ => {}
            }
        }
        for (key, file) in [&cert, &key, &peer_ca] {
            if file.as_ref().is_some_and(|file| file.contains("-----BEGIN")) {
                reader.refuse(key, "is what the file should hold: write the file's path");
            }
        }
        let file = |(key, path): (&'static str, Option<String>)| Some(File { key, path: path?.into(), place: reader.place(key) });
        Some(Tls { cert: file(cert)?, key: file(key)?, peer_ca: file(peer_ca)? })
    }

    /// Takes the files' contents from `read`; every file that cannot be read, or else the first that is bad, is told.
    pub fn open(&self, read: impl Fn(&Path) -> io::Result<Vec<u8>>) -> Result<PeerTls, BadConfig> {
        let mut problems = Vec::new();
        let [cert, key, peer_ca] = [&self.cert, &self.key, &self.peer_ca].map(|file| {
            read(&file.path).unwrap_or_else(|error| {
                problems.push(file.problem(&format!("cannot be read: {error}")));
                Vec::new()
            })
        });
        if !problems.is_empty() {
            return Err(BadConfig(problems));
        }
        PeerTls::new(&cert, &key, &peer_ca).map_err(|bad| {
            let file = match bad {
                BadPeerTls::Cert(_) => &self.cert,
                BadPeerTls::Key(_) => &self.key,
                BadPeerTls::PeerCa(_) => &self.peer_ca,
            };
            BadConfig(vec![file.problem(&bad.to_string())])
        })
    }
}

impl File {
    fn problem(&self, reason: &str) -> Problem {
        Problem { place: self.place.clone(), text: format!("{} = {:?}: {reason}", self.key, self.path) }
    }
}
