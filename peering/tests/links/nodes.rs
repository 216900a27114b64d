//! Nodes with the name g1 in a region each, and an authority for their certificates.

use peering::{Link, Party, PeerTls, accepting};
use protocol::peer::Hello;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use std::{sync::Arc, time::Duration};
use tokio::{net::TcpListener, sync::mpsc, time::timeout};

pub(crate) struct Node {
    pub(crate) party: Arc<Party>,
}

pub(crate) fn node(region: &str, key: &str, tls: Option<PeerTls>) -> Node {
    node_of("main", region, key, tls)
}

pub(crate) fn node_of(cluster: &str, region: &str, key: &str, tls: Option<PeerTls>) -> Node {
    let (cluster, region, node) = (cluster.to_owned(), region.to_owned(), "g1".to_owned());
    let me = Hello { cluster, region, node, producer: true, ..Hello::default() };
    Node { party: Arc::new(Party::new(me, key.as_bytes().to_vec(), tls, || 1)) }
}

impl Node {
    /// Its peer listener, and the links that come in there; as many wait as are not taken, then none is let in.
    pub(crate) async fn listens(&self) -> (String, mpsc::Receiver<(Link, Hello)>) {
        let (links, come) = mpsc::channel(1);
        (self.listens_with(Some(links)).await, come)
    }

    pub(crate) async fn listens_with(&self, links: Option<peering::Links>) -> String {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        tokio::spawn(accepting::serve(listener, Arc::clone(&self.party), links, std::future::pending()));
        address
    }
}

/// A link and its other end.
pub(crate) async fn linked() -> (Link, Link) {
    let (eu, us) = (node("eu", "the key of both", None), node("us", "the key of both", None));
    let (address, mut links) = us.listens().await;
    let (here, _) = within(Link::dial(&eu.party, &address)).await.unwrap();
    (here, within(links.recv()).await.unwrap().0)
}

/// Signs certificates, each for a host.
pub(crate) fn authority() -> impl Fn(&str) -> PeerTls {
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let issuer = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
    move |host| {
        let key = KeyPair::generate().unwrap();
        let cert = CertificateParams::new([host.to_owned()]).unwrap().signed_by(&key, &issuer).unwrap();
        PeerTls::new(cert.pem().as_bytes(), key.serialize_pem().as_bytes(), issuer.pem().as_bytes()).unwrap()
    }
}

/// What is awaited comes, however slow the machine is.
pub(crate) async fn within<T>(awaited: impl Future<Output = T>) -> T {
    timeout(Duration::from_secs(30), awaited).await.expect("it does not come")
}
