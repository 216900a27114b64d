use crate::gateway::{Gateway, document};
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};
use ring_coordinator::redis::{Access, Vote, tls};
use std::{fs, path::Path};
use testkit::RedisServer;

/// A certificate and its key as PEM, and the authority's that signed it.
struct Certified {
    cert: String,
    key: String,
}

struct Authority(Issuer<'static, KeyPair>, String);

impl Authority {
    fn new() -> Authority {
        let mut params = CertificateParams::new(vec![]).unwrap();
        // OpenSSL takes a certificate that bears its issuer's name for one of itself.
        params.distinguished_name.push(DnType::CommonName, "the authority");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().unwrap();
        let pem = params.self_signed(&key).unwrap().pem();
        Authority(Issuer::new(params, key), pem)
    }

    fn certify(&self, names: &[&str]) -> Certified {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(names.iter().map(|&name| name.to_owned()).collect::<Vec<_>>()).unwrap();
        params.distinguished_name.push(DnType::CommonName, names[0]);
        Certified { cert: params.signed_by(&key, &self.0).unwrap().pem(), key: key.serialize_pem() }
    }
}

fn write(directory: &Path, name: &str, text: &str) -> String {
    let path = directory.join(name);
    fs::write(&path, text).unwrap();
    path.display().to_string()
}

#[tokio::test]
async fn a_node_with_tls_is_believed_by_its_authority_and_wants_our_certificate() {
    let directory = tempfile::tempdir().unwrap();
    let (authority, stranger) = (Authority::new(), Authority::new());
    let (server, own) = (authority.certify(&["127.0.0.1"]), authority.certify(&["gateway"]));
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let server = RedisServer::start(&[
        &format!("tls-port {}", free.port()),
        &format!("tls-cert-file {}", write(directory.path(), "cert", &server.cert)),
        &format!("tls-key-file {}", write(directory.path(), "key", &server.key)),
        &format!("tls-ca-cert-file {}", write(directory.path(), "ca", &authority.1)),
    ])
    .await;
    let own = Some((own.cert.as_bytes(), own.key.as_bytes()));
    for (ca, own, url, refused) in [
        (&authority.1, own, format!("rediss://{free}"), None),
        (&stranger.1, own, format!("rediss://{free}"), Some("invalid peer certificate")),
        (&authority.1, own, format!("rediss://localhost:{}", free.port()), Some("not valid for name")),
        (&authority.1, None, format!("rediss://{free}"), Some("CertificateRequired")),
    ] {
        let access = Access { tls: Some(tls(ca.as_bytes(), own).unwrap()), ..Access::default() };
        let gateway = Gateway::new(access, &[]);
        gateway.nodes.apply(&document(&[("redis-a", &url, 1)]));
        if let Some(refused) = refused {
            let reason = gateway.vote(Vote::Down).await;
            assert!(reason.contains(refused), "{reason}");
            continue;
        }
        gateway.vote(Vote::Up).await;
        let answer = gateway.link().await.command(redis::cmd("SET").arg("k").arg("x".repeat(300_000))).await;
        assert_eq!(answer.unwrap().text(), Some("OK"));
        assert_eq!(server.cli(&["STRLEN", "k"]).await.unwrap(), testkit::resp::Reply::Integer(300_000));
    }
}
