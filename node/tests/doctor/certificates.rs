//! Certificates of files, and those that other ends show.

use crate::doctor;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, ExtendedKeyUsagePurpose, IsCa, KeyPair, date_time_ymd};
use rustls::{
    ServerConfig,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
};
use std::{fs, path::Path, sync::Arc};
use testkit::Authority;
use tokio::net::TcpListener;

/// Certificate and key in `directory`, valid until that year.
fn certificate(directory: &Path, year: i32) {
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let issuer = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
    let mut params = CertificateParams::new(["127.0.0.1".to_owned()]).unwrap();
    (params.not_before, params.not_after) = (date_time_ymd(2020, 1, 1), date_time_ymd(year, 1, 1));
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
    let key = KeyPair::generate().unwrap();
    let cert = params.signed_by(&key, &issuer).unwrap();
    for (name, text) in [("ca.pem", issuer.pem()), ("cert.pem", cert.pem()), ("key.pem", key.serialize_pem())] {
        fs::write(directory.join(name), text).unwrap();
    }
}

#[tokio::test]
async fn certificates_that_end_and_keys_that_do_not_fit_are_told() {
    let directory = tempfile::tempdir().unwrap();
    let path = |name: &str| directory.path().join(name).to_str().unwrap().to_owned();
    let (cert, key, ca) = (path("cert.pem"), path("key.pem"), path("ca.pem"));
    let with_key = |key| {
        [
            ("HEADCOUNT_TLS__CERT", cert.as_str()),
            ("HEADCOUNT_TLS__KEY", key),
            ("HEADCOUNT_TLS__PEER_CA", ca.as_str()),
            ("HEADCOUNT_COUNTER__SEEDS", "127.0.0.1:9"),
            ("HEADCOUNT_NODE__NAME", "c1"),
        ]
    };
    certificate(directory.path(), 2100);
    let good = doctor(&with_key(&key)).await;
    good.assert("certificate", "tls.cert", "ok", "more days");
    good.assert("certificate", "tls.peer_ca", "ok", "more days");
    good.assert("seed-reachable", "127.0.0.1:9", "fail", "refused");
    assert_eq!(good.failed(), [("seed-reachable", "127.0.0.1:9")], "{}", good.text);

    let other = path("other.pem");
    fs::write(&other, KeyPair::generate().unwrap().serialize_pem()).unwrap();
    doctor(&with_key(&other)).await.assert("certificate", "tls.cert", "fail", "does not fit");

    certificate(directory.path(), 2021);
    let expired = doctor(&with_key(&key)).await;
    expired.assert("certificate", "tls.cert", "fail", "has expired");
    assert_eq!(expired.code, 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_service_is_believed_by_the_authorities_of_this_host_alone() {
    let authority = Authority::new("ours");
    let identity = authority.signs("127.0.0.1");
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let chain: Vec<_> = CertificateDer::pem_file_iter(&identity.cert).unwrap().collect::<Result<_, _>>().unwrap();
    let key = PrivateKeyDer::from_pem_file(&identity.key).unwrap();
    let config = ServerConfig::builder().with_no_client_auth().with_single_cert(chain, key).unwrap();
    let acceptor = tokio_rustls::TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((socket, _)) = listener.accept().await {
            let _ = acceptor.accept(socket).await;
        }
    });
    let url = format!("https://{address}/hooks?key=wonder");
    let hooks = [("HEADCOUNT_WEBHOOKS__URL", url.as_str()), ("HEADCOUNT_WEBHOOKS__SECRETS", "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")];
    let stranger = doctor(&hooks).await;
    stranger.assert("webhooks-reachable", &address.to_string(), "fail", "TLS: ");
    let trusted = doctor(&[hooks.as_slice(), &[("SSL_CERT_FILE", authority.ca().to_str().unwrap())]].concat()).await;
    trusted.assert("webhooks-reachable", &address.to_string(), "ok", "answers after");
    assert!(!trusted.text.contains("wonder") && !stranger.text.contains("wonder") && trusted.code == 0, "{}", trusted.text);
}
