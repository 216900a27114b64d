//! I/O: connecting to other ends, and nothing more: no request is made.

use crate::{
    config::Config,
    doctor::reach::{Kind, Place, Reached, Security},
};
use peering::tls::PeerTls;
use protocol::time::Clock;
use rustls::{ClientConfig, pki_types::ServerName};
use rustls_platform_verifier::ConfigVerifierExt;
use std::{sync::Arc, time::Duration};
use tokio::{
    io::AsyncReadExt,
    net::{TcpStream, lookup_host},
    time::timeout,
};
use tokio_rustls::TlsConnector;

/// How long a connection may take to be made, and then TLS.
const PATIENCE: Duration = Duration::from_secs(2);
/// By TLS 1.3 a client learns only after its handshake that its certificate is refused.
const REFUSAL: Duration = Duration::from_millis(300);

/// Every place of the configuration, each once.
pub(in crate::doctor) fn places(config: &Config) -> Vec<Place> {
    let peers = if config.tls.is_some() { Security::Peers } else { Security::Clear };
    let mut places: Vec<Place> = config.counter.seeds.iter().filter_map(|seed| Place::of_address(Kind::Seed, seed, peers)).collect();
    if config.node.roles.gateway {
        places.extend(config.regions.peers.iter().filter_map(|peer| Place::of_address(Kind::Peer, &peer.address, peers)));
        let webhooks = config.effective.get("webhooks").and_then(|section| section.get("url")).and_then(|url| url.as_str());
        places.extend(webhooks.and_then(|url| Place::of_url(Kind::Webhooks, url)));
        places.extend(config.auth.jwks.iter().filter_map(|keys| Place::of_url(Kind::Keys, &keys.url)));
    }
    let mut once: Vec<Place> = Vec::new();
    for place in places {
        if !once.contains(&place) {
            once.push(place);
        }
    }
    once
}

/// Connects to one.
pub(in crate::doctor) async fn reach(place: &Place, peers: Option<&PeerTls>, clock: Clock) -> Reached {
    let begun = clock().mono_ms;
    let addresses = match timeout(PATIENCE, lookup_host((place.host.as_str(), place.port))).await {
        Ok(Ok(addresses)) => addresses.collect::<Vec<_>>(),
        Ok(Err(error)) => return Reached::Unknown(error.to_string()),
        Err(_) => return Reached::Unknown(format!("no answer of the name service within {PATIENCE:?}")),
    };
    let stream = match timeout(PATIENCE, TcpStream::connect(addresses.as_slice())).await {
        Ok(Ok(stream)) => stream,
        Ok(Err(error)) => return Reached::Unreachable(error.to_string()),
        Err(_) => return Reached::Unreachable(format!("no answer within {PATIENCE:?}")),
    };
    let tls = match (place.security, peers) {
        (Security::Clear, _) | (Security::Peers, None) => return Reached::After(clock().mono_ms - begun),
        (Security::Peers, Some(peers)) => Ok(peers.dialing()),
        (Security::System, _) => ClientConfig::with_platform_verifier().map(Arc::new).map_err(|error| error.to_string()),
    };
    let name = ServerName::try_from(place.host.clone()).map_err(|_| "no certificate can be for that name".to_owned());
    let (tls, name) = match tls.and_then(|tls| Ok((tls, name?))) {
        Ok(both) => both,
        Err(reason) => return Reached::Untrusted(reason),
    };
    let mut stream = match timeout(PATIENCE, TlsConnector::from(tls).connect(name, stream)).await {
        Ok(Ok(stream)) => stream,
        Ok(Err(error)) => return Reached::Untrusted(error.to_string()),
        Err(_) => return Reached::Untrusted(format!("no answer within {PATIENCE:?}")),
    };
    let took_ms = clock().mono_ms - begun;
    if place.security == Security::Peers {
        match timeout(REFUSAL, stream.read(&mut [0; 1])).await {
            Ok(Err(error)) => return Reached::Untrusted(error.to_string()),
            Ok(Ok(0)) => return Reached::Untrusted("it hung up: has it refused the certificate in tls.cert?".to_owned()),
            _ => {}
        }
    }
    Reached::After(took_ms)
}
