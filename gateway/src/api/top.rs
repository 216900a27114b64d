//! I/O: the counters with the greatest values of a namespace, as HTTP and `top:<namespace>` tell them.

use super::{error::ApiError, extract::Query};
use crate::gateway::Gateway;
use axum::extract::State;
use counter::{ChangedCounter, Ranking, TopError};
use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// How many are told unless the caller says how many.
pub(crate) const TOLD: usize = 10;

/// Of which namespace, and how many.
#[derive(Deserialize)]
pub(crate) struct Wanted {
    #[serde(default)]
    namespace: String,
    limit: Option<usize>,
}

/// The body of `GET /v1/top`, and the state of `top:<namespace>`.
#[derive(Serialize)]
pub(crate) struct Greatest {
    namespace: String,
    counters: Vec<Counted>,
}

/// A value outside of the range of `value` stands in `value_s` alone.
#[derive(Serialize)]
struct Counted {
    key: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    value: Option<i64>,
    value_s: String,
}

/// `GET /v1/top?namespace=&limit=`
pub(crate) async fn read(State(gateway): State<Arc<Gateway>>, Query(wanted): Query<Wanted>) -> Result<axum::Json<Greatest>, ApiError> {
    let Wanted { namespace, limit } = wanted;
    gateway.rules.namespaces.of_name(&namespace)?;
    let counters = gateway.counters.top(&namespace, limit.unwrap_or(TOLD)).await?;
    Ok(axum::Json(Greatest::new(namespace, counters)))
}

/// The same of a node that is no gateway, whose namespaces nobody asks for by name.
pub(crate) async fn greatest_of(ranking: &Ranking, Wanted { namespace, limit }: Wanted) -> Result<Greatest, ApiError> {
    let counters = ranking.top(&namespace, limit.unwrap_or(TOLD)).await.map_err(TopError::from)?;
    Ok(Greatest::new(namespace, counters))
}

impl Greatest {
    pub(crate) fn new(namespace: String, counters: Vec<ChangedCounter>) -> Greatest {
        let counted = |ChangedCounter { key, value }: ChangedCounter| Counted {
            key: key.as_str().to_owned(),
            value: i64::try_from(value).ok(),
            value_s: value.to_string(),
        };
        Greatest { namespace, counters: counters.into_iter().map(counted).collect() }
    }
}
