//! Others who speak TLS: one between two nodes who passes on what they say, and dialers that are no nodes.

use crate::authority::{Authority, Identity};
use core::net::SocketAddr;
use rustls::{ClientConfig, ServerConfig, crypto::aws_lc_rs, pki_types::ServerName, server::WebPkiClientVerifier, version::TLS12};
use std::sync::Arc;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt, copy_bidirectional},
    net::{TcpListener, TcpStream},
    task::JoinHandle,
};
use tokio_rustls::{TlsAcceptor, TlsConnector};

/// One who has a certificate and can be reached instead of a node.
pub(crate) struct Relay {
    pub(crate) address: SocketAddr,
    accepting: JoinHandle<()>,
}

impl Relay {
    pub(crate) async fn start(authority: &Authority, identity: &Identity, target: SocketAddr) -> Relay {
        _ = aws_lc_rs::default_provider().install_default();
        let dialers = WebPkiClientVerifier::builder(Arc::new(authority.roots())).build().unwrap();
        let accepting = ServerConfig::builder().with_client_cert_verifier(dialers).with_single_cert(identity.chain(), identity.key());
        let acceptor = TlsAcceptor::from(Arc::new(accepting.unwrap()));
        let dialing = ClientConfig::builder().with_root_certificates(authority.roots());
        let connector = TlsConnector::from(Arc::new(dialing.with_client_auth_cert(identity.chain(), identity.key()).unwrap()));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let accepting = tokio::spawn(async move {
            while let Ok((near, _)) = listener.accept().await {
                let (acceptor, connector) = (acceptor.clone(), connector.clone());
                tokio::spawn(async move {
                    let mut near = acceptor.accept(near).await?;
                    let far = TcpStream::connect(target).await?;
                    let mut far = connector.connect(host(target), far).await?;
                    copy_bidirectional(&mut near, &mut far).await
                });
            }
        });
        Relay { address, accepting }
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

fn host(address: SocketAddr) -> ServerName<'static> {
    ServerName::IpAddress(address.ip().into())
}

pub(crate) fn without_certificate(authority: &Authority) -> ClientConfig {
    _ = aws_lc_rs::default_provider().install_default();
    ClientConfig::builder().with_root_certificates(authority.roots()).with_no_client_auth()
}

pub(crate) fn with_tls_1_2(authority: &Authority, identity: &Identity) -> ClientConfig {
    let dialing = ClientConfig::builder_with_protocol_versions(&[&TLS12]).with_root_certificates(authority.roots());
    dialing.with_client_auth_cert(identity.chain(), identity.key()).unwrap()
}

/// Says something and waits for an answer.
pub(crate) async fn dial(dialing: ClientConfig, target: SocketAddr) -> std::io::Result<u8> {
    let stream = TcpStream::connect(target).await?;
    let mut stream = TlsConnector::from(Arc::new(dialing)).connect(host(target), stream).await?;
    stream.write_all(b"hello?").await?;
    stream.read_u8().await
}

/// The certificate that is shown to a dialer who has one.
pub(crate) async fn shown(authority: &Authority, identity: &Identity, target: SocketAddr) -> Vec<u8> {
    let dialing = ClientConfig::builder().with_root_certificates(authority.roots());
    let dialing = dialing.with_client_auth_cert(identity.chain(), identity.key()).unwrap();
    let stream = TcpStream::connect(target).await.unwrap();
    let stream = TlsConnector::from(Arc::new(dialing)).connect(host(target), stream).await.unwrap();
    stream.get_ref().1.peer_certificates().unwrap()[0].to_vec()
}
