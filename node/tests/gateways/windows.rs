//! Events through gateways without counters.

use crate::region::Region;
use serde_json::json;
use uuid::Uuid;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn views_are_counted_by_the_hour_through_gateways_that_keep_none() {
    let region = Region::start(2, "[[namespace]]\nname = \"views\"\ntype = \"windowed\"").await;
    let (token, day_ms) = (Uuid::now_v7(), 24 * 3_600_000);
    let now_ms = token.get_timestamp().unwrap().to_unix().0 * 1_000;
    // The same token through both gateways is one event, also where the second one says another time.
    for (gateway, body) in [
        (0, json!({ "by": 5, "token": token, "ack": "replicated" })),
        (1, json!({ "by": 5, "token": token, "at": now_ms - day_ms })),
        (1, json!({ "by": -1, "at": now_ms - day_ms, "ack": "replicated" })),
    ] {
        let (status, answer) = region.call(gateway, "POST", "/v1/counters/views:1/add", &body).await;
        assert_eq!(status, 200, "{answer}");
    }
    assert_eq!(region.settled_value("views:1").await, 4);
    for gateway in 0..2 {
        let (_, windows) = region.get(gateway, "/views:1/windows?by=day&last=3").await;
        assert_eq!((&windows["count"], &windows["sum"], &windows["average"]), (&json!(2), &json!(4), &json!(2.0)), "{windows}");
        let (_, windows) = region.get(gateway, "/views:1/windows?by=hour&last=2").await;
        assert_eq!((&windows["count"], &windows["sum"]), (&json!(1), &json!(5)), "{windows}");
        let long = format!("/v1/counters/views:{}/add", "x".repeat(238));
        assert_eq!(region.call(gateway, "POST", &long, &json!({})).await.0, 400);
        let (status, answer) = region.call(gateway, "POST", "/v1/counters/views:1/add", &json!({ "at": 0 })).await;
        assert_eq!((status, &answer["error"]["code"]), (400, &json!("bad_time")), "{answer}");
    }
}
