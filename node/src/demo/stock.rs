//! I/O: the tickets that the regions sell, which the first one puts on sale when the demo begins.

use super::layout::{NAMESPACE_OF_STOCK, Region};
use reqwest::{Client, header};
use std::time::Duration;

/// How many.
const TICKETS: u32 = 20;
/// How long the region may take to be ready.
const PATIENCE: Duration = Duration::from_secs(30);

/// Without them the page says how some are put on sale.
pub(super) async fn put_on_sale(region: Region) {
    if let Err(error) = add(&region).await {
        tracing::error!(%error, region = region.name, "no tickets were put on sale");
    }
}

async fn add(Region { listen, .. }: &Region) -> reqwest::Result<()> {
    let Some(client) = listen.client else { return Ok(()) };
    let http = Client::builder().timeout(PATIENCE).no_proxy().build()?;
    let request = http.post(format!("http://{client}/v1/counters/{NAMESPACE_OF_STOCK}:tickets/add"));
    let request = request.header(header::CONTENT_TYPE, "application/json").body(format!("{{\"by\":{TICKETS}}}"));
    request.send().await?.error_for_status().map(drop)
}
