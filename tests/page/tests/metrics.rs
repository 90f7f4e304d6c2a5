//! What the web example counts, as Prometheus reads it, and the dashboard that shows it.

use std::collections::BTreeSet;
use std::time::Duration;

use lock_page_tests::{PATIENCE, Shop};
use lock_tests::http::{Response, request};
use lock_tests::{RedisServer, eventually};
use serde_json::Value;

const DASHBOARD: &str = include_str!("../../../examples/web/dashboard.json");

/// What an exporter of Prometheus would see.
async fn scrape(shop: &Shop) -> String {
    let Response { status, head, body } = request(shop.address(), "GET", "/metrics").await.expect("an answer");
    assert!(status == 200 && head.contains("text/plain; version=0.0.4"), "{status} {head}");
    body
}

async fn post(shop: &Shop, path: &str) -> u16 {
    request(shop.address(), "POST", path).await.expect("an answer").status
}

/// Every value of a string in the dashboard under one of these names.
fn strings<'a>(value: &'a Value, names: &[&str], found: &mut Vec<&'a str>) {
    match value {
        Value::Array(values) => values.iter().for_each(|value| strings(value, names, found)),
        Value::Object(fields) => fields.iter().for_each(|(name, value)| match value {
            Value::String(text) if names.contains(&&**name) => found.push(text),
            value => strings(value, names, found),
        }),
        _ => {}
    }
}

/// Promise: each query of the dashboard asks for series that the service has, by names, labels and values of labels that are
/// there, when locks were had, busy, lost and out of reach; and whatever is locked, the keys are in none of them.
///
/// Turned red by: a metric, a label or an outcome that is called otherwise than in the dashboard; buckets that are not set, so
/// that histograms come as summaries; the key as a label.
#[tokio::test]
async fn the_dashboard_finds_what_it_asks_for() {
    let mut redis = RedisServer::start();
    let shop = Shop::on(&redis);
    for item in 0..20 {
        assert_eq!(post(&shop, &format!("/stock/secret-{item}/buy")).await, 409, "there is none");
    }
    assert_eq!(post(&shop, "/stock/coffee/buy").await, 200);
    assert_eq!(post(&shop, "/sale/stalling/1").await, 202);
    // Somebody deletes the lock of a report that is being built.
    let address = shop.address().to_owned();
    let report = tokio::spawn(async move { request(&address, "GET", "/report").await });
    let mut admin = redis.admin();
    eventually("the report is being built", PATIENCE, || admin.delete("report")).await;
    assert_eq!(report.await.expect("no panic").expect("an answer").status, 200);
    // Busy, and then out of reach.
    redis.admin().set("report", "somebody else", &["PX", "300000"]);
    let report = async || request(shop.address(), "GET", "/report").await.expect("an answer").status;
    assert_eq!(report().await, 202);
    redis.pause();
    assert_eq!(report().await, 503);
    redis.resume();
    let lost = async {
        while !scrape(&shop).await.contains("lock_lost_total{lock=\"sale:{sale.item}\",cause=\"expired\"}") {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(PATIENCE, lost).await.expect("the one who stalls loses the lock");

    let text = scrape(&shop).await;
    let series: Vec<&str> = text.lines().filter(|line| !line.starts_with('#') && !line.is_empty()).collect();
    let names: BTreeSet<&str> = series.iter().filter_map(|line| line.split(['{', ' ']).next()).collect();
    let dashboard: Value = serde_json::from_str(DASHBOARD).expect("JSON");
    let mut queries = Vec::new();
    strings(&dashboard, &["expr", "definition"], &mut queries);
    assert!(queries.len() > 15, "{queries:?}");
    for query in &queries {
        let words = query.split(|each: char| !each.is_ascii_alphanumeric() && each != '_');
        let asked: Vec<_> = words.filter(|word| word.starts_with("lock_")).collect();
        assert!(!asked.is_empty(), "{query}");
        for name in asked {
            assert!(names.contains(name), "{query}: no {name} among {names:?}");
        }
        for (label, values) in query.split(['{', ',', '}']).filter_map(|part| part.split_once('=')) {
            if label == "lock" {
                continue;
            }
            let values = values.trim_matches(['~', '"']).split('|');
            let is_there = |value: &str| text.contains(&format!("{label}=\"{value}\""));
            assert!(values.clone().any(is_there), "{query}: no {label} is {:?}", values.collect::<Vec<_>>());
        }
    }
    assert!(!text.contains("secret"), "{text}");
    let calls = series.iter().filter(|line| line.starts_with("lock_attempts_total")).count();
    // stock, sale (twice under one name), report.
    assert_eq!(calls, 3, "{series:#?}");
    for name in names.iter().map(|name| name.trim_end_matches("_bucket").trim_end_matches("_sum")) {
        let name = name.trim_end_matches("_count");
        assert!(text.contains(&format!("# HELP {name} ")) && text.contains(&format!("# TYPE {name} ")), "{name}");
    }
}
