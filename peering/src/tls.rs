//! Pure: what TLS between nodes demands: version 1.3, and on both sides a certificate of the cluster's own
//! authority. Texts of PEM files come in; the settings of both ends, or what is wrong with a file, come out.

use crate::certificate::{BadCertificate, Certificate, Shown, certificates};
use protocol::time::Now;
use rustls::{
    ClientConfig, RootCertStore, ServerConfig,
    client::{Resumption, WebPkiServerVerifier, danger::ServerCertVerifier},
    crypto::aws_lc_rs,
    pki_types::{ServerName, UnixTime},
    server::{NoServerSessionStorage, WebPkiClientVerifier, danger::ClientCertVerifier},
    version::TLS13,
};
use std::{sync::Arc, time::Duration};

/// How a node shows its peers who it is, and whom it believes.
#[derive(Clone)]
pub struct PeerTls {
    /// For connections that this node dials.
    pub(crate) dialing: Arc<ClientConfig>,
    /// For connections that it accepts.
    pub(crate) accepting: Arc<ServerConfig>,
    own: Arc<Shown>,
    dialed: Arc<WebPkiServerVerifier>,
    dialers: Arc<dyn ClientCertVerifier>,
}

/// Which of the files is bad, and why. Nothing is done with any of them.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadPeerTls {
    /// This node's certificate chain, or its private key.
    #[error(transparent)]
    Own(#[from] BadCertificate),
    /// The certificates of the authority.
    #[error("{0}")]
    PeerCa(String),
}

impl std::fmt::Debug for PeerTls {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.debug_struct("PeerTls").finish_non_exhaustive()
    }
}

impl PeerTls {
    /// Takes the texts of three PEM files: this node's certificate with those that lead to its authority, its private key,
    /// and the certificates of the authority whose nodes are believed. Whether the first would be believed is [`Self::doubt`].
    pub fn new(cert: &[u8], key: &[u8], peer_ca: &[u8]) -> Result<PeerTls, BadPeerTls> {
        let provider = Arc::new(aws_lc_rs::default_provider());
        let mut roots = RootCertStore::empty();
        for certificate in certificates(peer_ca).map_err(BadPeerTls::PeerCa)? {
            roots.add(certificate).map_err(|error| BadPeerTls::PeerCa(format!("is no certificate of an authority: {error}")))?;
        }
        let roots = Arc::new(roots);
        let own = Shown::new(Certificate::from_pem(cert, key)?);
        let unusable = |error: &dyn std::fmt::Display| BadPeerTls::PeerCa(format!("cannot be used: {error}"));

        let dialed = WebPkiServerVerifier::builder_with_provider(Arc::clone(&roots), Arc::clone(&provider));
        let dialed = dialed.build().map_err(|error| unusable(&error))?;
        let dialing = ClientConfig::builder_with_provider(Arc::clone(&provider)).with_protocol_versions(&[&TLS13]);
        let dialing = dialing.map_err(|error| unusable(&error))?.with_webpki_verifier(Arc::clone(&dialed));
        let mut dialing = dialing.with_client_cert_resolver(Arc::clone(&own) as _);

        let dialers = WebPkiClientVerifier::builder_with_provider(roots, Arc::clone(&provider));
        let dialers = dialers.build().map_err(|error| unusable(&error))?;
        let accepting = ServerConfig::builder_with_provider(provider).with_protocol_versions(&[&TLS13]);
        let accepting = accepting.map_err(|error| unusable(&error))?.with_client_cert_verifier(Arc::clone(&dialers));
        let mut accepting = accepting.with_cert_resolver(Arc::clone(&own) as _);

        // Every connection checks both certificates anew.
        dialing.resumption = Resumption::disabled();
        accepting.session_storage = Arc::new(NoServerSessionStorage {});
        accepting.send_tls13_tickets = 0;
        Ok(PeerTls { dialing: Arc::new(dialing), accepting: Arc::new(accepting), own, dialed, dialers })
    }

    /// This node's certificate. Another one is shown from the next connection on; the authority stays as it is.
    #[must_use]
    pub fn own(&self) -> &Arc<Shown> {
        &self.own
    }

    /// The settings of a connection that is dialed, for whoever only looks whether there can be one.
    #[must_use]
    pub fn dialing(&self) -> Arc<ClientConfig> {
        Arc::clone(&self.dialing)
    }

    /// Why other nodes with the same authority would refuse this one's certificate at `now`, whether they dial it at
    /// `address` or it dials them; `None`: they would not.
    #[must_use]
    pub fn doubt(&self, address: &str, now: Now) -> Option<String> {
        self.doubt_of(&self.own.certificate(), address, now)
    }

    /// The same of a certificate that this node might show.
    #[must_use]
    pub fn doubt_of(&self, certificate: &Certificate, address: &str, now: Now) -> Option<String> {
        let now = UnixTime::since_unix_epoch(Duration::from_millis(now.wall_ms));
        let (first, others) = certificate.chain().split_first()?;
        let as_dialer = || self.dialers.verify_client_cert(first, others, now).map(drop);
        let as_dialed = |host: &ServerName<'_>| self.dialed.verify_server_cert(first, others, host, &[], now).map(drop);
        match host(address) {
            Err(reason) => Some(reason),
            Ok(host) => as_dialer().and_then(|()| as_dialed(&host)).err().map(|error| error.to_string()),
        }
    }
}

/// The host of HOST:PORT, as a certificate may name it.
pub(crate) fn host(address: &str) -> Result<ServerName<'static>, String> {
    let host = address.rsplit_once(':').map_or(address, |(host, _)| host);
    let bare = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
    ServerName::try_from(bare.to_owned()).map_err(|_| format!("{bare:?} is no name or address of a host that a certificate could be for"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, ExtendedKeyUsagePurpose, IsCa, KeyPair, date_time_ymd};

    #[test]
    fn the_host_of_an_address_is_what_a_certificate_names() {
        for (address, expected) in [
            ("c1.example:7400", Ok("c1.example")),
            ("10.0.0.1:7400", Ok("10.0.0.1")),
            ("[2001:db8::1]:7400", Ok("2001:db8::1")),
            ("a b:7400", Err("\"a b\" is no name or address of a host that a certificate could be for")),
            ("[::1:7400", Err("\"[::1\" is no name or address of a host that a certificate could be for")),
        ] {
            let found = host(address).map(|host| host.to_str().into_owned());
            assert_eq!(found.as_deref().map_err(String::as_str), expected, "{address}");
        }
    }

    #[test]
    fn a_node_knows_why_others_would_refuse_it() {
        let authority = |name: &str| {
            let mut params = CertificateParams::new([name.to_owned()]).unwrap();
            params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
            params.distinguished_name.push(rcgen::DnType::CommonName, name);
            CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap()
        };
        let (ours, theirs) = (authority("ours"), authority("theirs"));
        let certificate = |issuer: &CertifiedIssuer<'_, KeyPair>, uses: &[ExtendedKeyUsagePurpose]| {
            let mut params = CertificateParams::new(["c1.example".to_owned(), "2001:db8::1".to_owned()]).unwrap();
            (params.not_before, params.not_after) = (date_time_ymd(2020, 1, 1), date_time_ymd(2030, 1, 1));
            params.extended_key_usages = uses.to_vec();
            let key = KeyPair::generate().unwrap();
            let cert = params.signed_by(&key, issuer).unwrap();
            PeerTls::new(cert.pem().as_bytes(), key.serialize_pem().as_bytes(), ours.pem().as_bytes()).unwrap()
        };
        let both = [ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        let (good, foreign) = (certificate(&ours, &both), certificate(&theirs, &both));
        let (server, client) = (certificate(&ours, &both[..1]), certificate(&ours, &both[1..]));
        let year = |year: u64| Now { mono_ms: 0, wall_ms: (year - 1970) * 31_557_600_000 };
        for (tls, address, year, expected) in [
            (&good, "c1.example:7400", year(2025), None),
            (&good, "[2001:db8::1]:7400", year(2025), None),
            (&good, "c2.example:7400", year(2025), Some("not valid for name \"c2.example\"")),
            (&good, "[2001:db8::2]:7400", year(2025), Some("not valid for name \"2001:db8::2\"")),
            (&good, "c1.example:7400", year(2031), Some("certificate expired")),
            (&good, "c1.example:7400", year(2019), Some("certificate not valid yet")),
            (&good, "a b:7400", year(2025), Some("is no name or address of a host")),
            (&foreign, "c1.example:7400", year(2025), Some("UnknownIssuer")),
            (&server, "c1.example:7400", year(2025), Some("extended key usage")),
            (&client, "c1.example:7400", year(2025), Some("extended key usage")),
        ] {
            match (tls.doubt(address, year), expected) {
                (None, None) => {}
                (Some(doubt), Some(expected)) => assert!(doubt.contains(expected), "{doubt} instead of {expected}"),
                (found, expected) => panic!("{found:?} instead of {expected:?} for {address} at {}", year.wall_ms),
            }
        }
    }
}
