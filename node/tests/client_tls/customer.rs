//! Whoever comes through TLS: what it believes, and the clients that are made on it.

use futures_util::{SinkExt, StreamExt};
use serde_json::{Value, json};
use std::{io, net::SocketAddr, path::Path, sync::Arc, time::Duration};
use testkit::Authority;
use tokio::{net::TcpStream, time::timeout};
use tokio_rustls::{
    TlsConnector,
    client::TlsStream,
    rustls::{
        ClientConfig, RootCertStore, SupportedProtocolVersion,
        crypto::aws_lc_rs,
        pki_types::{CertificateDer, ServerName, pem::PemObject},
        version::{TLS12, TLS13},
    },
};
use tokio_tungstenite::{WebSocketStream, client_async, tungstenite::Message};

pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// Believes one authority.
pub(crate) struct Customer {
    ca: std::path::PathBuf,
    roots: RootCertStore,
}

impl Customer {
    pub(crate) fn of(authority: &Authority) -> Customer {
        _ = aws_lc_rs::default_provider().install_default();
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_file(authority.ca()).unwrap()).unwrap();
        Customer { ca: authority.ca().to_owned(), roots }
    }

    pub(crate) async fn dial(&self, address: SocketAddr, host: &str) -> io::Result<TlsStream<TcpStream>> {
        self.dial_with(address, host, &[&TLS12, &TLS13], &["http/1.1"]).await
    }

    /// The same with these versions and protocols.
    pub(crate) async fn dial_with(
        &self,
        address: SocketAddr,
        host: &str,
        versions: &[&'static SupportedProtocolVersion],
        protocols: &[&str],
    ) -> io::Result<TlsStream<TcpStream>> {
        let mut config =
            ClientConfig::builder_with_protocol_versions(versions).with_root_certificates(self.roots.clone()).with_no_client_auth();
        config.alpn_protocols = protocols.iter().map(|name| name.as_bytes().to_vec()).collect();
        let host = ServerName::try_from(host.to_owned()).unwrap();
        let socket = TcpStream::connect(address).await?;
        timeout(PATIENCE, TlsConnector::from(Arc::new(config)).connect(host, socket)).await.expect("an end of the handshake")
    }

    /// The certificate that is shown to who connects now.
    pub(crate) async fn shown(&self, address: SocketAddr) -> Vec<u8> {
        let stream = self.dial(address, "127.0.0.1").await.unwrap();
        stream.get_ref().1.peer_certificates().unwrap()[0].to_vec()
    }

    pub(crate) fn http(&self) -> reqwest::Client {
        let ca = reqwest::Certificate::from_pem(&std::fs::read(&self.ca).unwrap()).unwrap();
        reqwest::Client::builder().tls_certs_only([ca]).no_proxy().timeout(PATIENCE).build().unwrap()
    }

    /// A WebSocket that has connected and subscribed.
    pub(crate) async fn subscriber(&self, address: SocketAddr, channel: &str) -> Subscriber {
        let stream = self.dial(address, "127.0.0.1").await.unwrap();
        let (mut socket, _) = client_async(format!("wss://{address}/connection/websocket"), stream).await.unwrap();
        for command in [json!({ "id": 1, "connect": {} }), json!({ "id": 2, "subscribe": { "channel": channel } })] {
            socket.send(Message::text(command.to_string())).await.unwrap();
        }
        let mut subscriber = Subscriber(socket);
        subscriber.until(|reply| reply["id"] == 2).await;
        subscriber
    }
}

pub(crate) struct Subscriber(WebSocketStream<TlsStream<TcpStream>>);

impl Subscriber {
    /// The data of the next publication.
    pub(crate) async fn next(&mut self) -> Value {
        self.until(|push| push["push"]["pub"].is_object()).await["push"]["pub"]["data"].clone()
    }

    async fn until(&mut self, is_meant: impl Fn(&Value) -> bool) -> Value {
        loop {
            let message = timeout(PATIENCE, self.0.next()).await.expect("a message").expect("a connection").unwrap();
            let lines = message.into_text().unwrap();
            for line in lines.lines() {
                let reply: Value = serde_json::from_str(line).unwrap();
                assert!(reply["error"].is_null(), "{reply}");
                match reply {
                    reply if is_meant(&reply) => return reply,
                    reply if reply == json!({}) => self.0.send(Message::text("{}")).await.unwrap(),
                    _ => {}
                }
            }
        }
    }
}

/// The certificate in a file.
pub(crate) fn certificate(path: &Path) -> Vec<u8> {
    CertificateDer::from_pem_file(path).unwrap().to_vec()
}
