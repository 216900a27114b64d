//! I/O: requests that this gateway makes by itself: to what the configuration names, and to nobody else.

use reqwest::{Client, ClientBuilder, Url, redirect};
use std::net::IpAddr;

/// What a URL of the configuration must be.
pub const TRUSTWORTHY: &str = "must begin with https:// (http:// on loopback only)";

/// Whether what is said there, or comes from there, can be neither read nor replaced on the way.
#[must_use]
pub fn is_trustworthy(url: &Url) -> bool {
    let host = url.host_str().unwrap_or_default();
    let is_loopback = || host == "localhost" || host.trim_matches(['[', ']']).parse().is_ok_and(|address: IpAddr| address.is_loopback());
    match url.scheme() {
        "https" => !host.is_empty(),
        "http" => is_loopback(),
        _ => false,
    }
}

/// Follows no redirect and asks no proxy of the environment: what the configuration says is all that is contacted. The process
/// must have installed a rustls crypto provider before.
pub fn client(url: &Url) -> ClientBuilder {
    let client = Client::builder().redirect(redirect::Policy::none()).no_proxy();
    // Plain http needs no certificates, which a bare container may not have.
    if url.scheme() == "http" { client.tls_certs_only([]) } else { client }
}
