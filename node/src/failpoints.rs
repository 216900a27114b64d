//! I/O: faults that tests order of the binary as it is shipped. None exists unless `HEADCOUNT_FAILPOINTS` names it at the start.

use crate::{admin::Admin, failure::Failure};
use axum::{Router, extract::Query, http::StatusCode, routing::post};
use serde::Deserialize;
use std::{
    sync::{Arc, Barrier},
    time::Duration,
};

/// Names failpoints by comma.
const VARIABLE: &str = "HEADCOUNT_FAILPOINTS";
/// Blocks every thread of the runtime, by `POST /failpoints/stall?ms=` on the admin listener.
const STALL: &str = "stall";

/// Which there are in this process.
#[derive(Clone, Copy, Debug, Default)]
pub struct Failpoints {
    stall: bool,
}

impl Failpoints {
    /// As [`VARIABLE`] says.
    pub fn of_environment() -> Result<Failpoints, Failure> {
        let names = std::env::var(VARIABLE).unwrap_or_default();
        let mut failpoints = Failpoints::default();
        for name in names.split(',').map(str::trim).filter(|name| !name.is_empty()) {
            match name {
                STALL => failpoints.stall = true,
                other => return Err(Failure::Usage(format!("{VARIABLE}: {other:?} is no failpoint; there is {STALL:?}"))),
            }
        }
        if failpoints.stall {
            tracing::warn!("{VARIABLE}: whoever reaches the admin listener can stall this node; for tests only");
        }
        Ok(failpoints)
    }

    /// The orders of those that there are.
    pub fn routes(self) -> Router<Admin> {
        let routes = Router::new();
        if self.stall { routes.route("/failpoints/stall", post(stall)) } else { routes }
    }
}

#[derive(Deserialize)]
struct Stalling {
    ms: u64,
}

/// Every worker of the runtime sleeps at the same time, so that not even the answer goes out before.
#[allow(clippy::disallowed_methods)]
async fn stall(Query(Stalling { ms }): Query<Stalling>) -> StatusCode {
    let workers = tokio::runtime::Handle::current().metrics().num_workers();
    let all_here = Arc::new(Barrier::new(workers));
    for _ in 0..workers {
        let all_here = Arc::clone(&all_here);
        tokio::spawn(async move {
            all_here.wait();
            std::thread::sleep(Duration::from_millis(ms));
        });
    }
    StatusCode::ACCEPTED
}
