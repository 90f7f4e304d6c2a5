//! What the page says of the lock itself, and of the functions that take it.

use lock_page_tests::{Browser, Shop};
use lock_tests::RedisServer;
use serde_json::json;

async fn open(browser: &Browser, shop: &Shop) {
    browser.go(&shop.url()).await;
    browser.until("the page is told of the stock", "document.getElementById('left').textContent === '20'").await;
}

/// Promise: the panel shows who has the lock, whoever that is: a program of somebody else, a buyer of another instance by its name,
/// nobody; how long still, going down; and how many wait, here and at the store.
///
/// Turned red by: a panel that knows the buyers of the timeline alone; the line of one instance for that of all.
#[tokio::test]
async fn the_panel_shows_who_has_the_lock() {
    let Some(browser) = Browser::start().await else { return };
    let redis = RedisServer::start();
    let (shop, other_shop) = (Shop::on(&redis), Shop::on(&redis));
    open(&browser, &shop).await;
    let shows = |id: &str, text: &str| format!("document.getElementById('{id}').textContent === '{text}'");
    browser.until("nobody has it", &shows("holder", "nobody")).await;

    redis.admin().set("sale:sneakers", "somebody", &["PX", "300000"]);
    browser.until("somebody else has it", &shows("holder", "another program")).await;
    let left = "return Number.parseInt(document.getElementById('ttl').textContent)";
    let before = browser.run(left).await.as_i64().expect("a number");
    assert!((290_000..=300_000).contains(&before), "{before} ms");
    browser
        .until("time goes by", &format!("Number.parseInt(document.getElementById('ttl').textContent) < {before}"))
        .await;

    browser.run("document.getElementById('buyers').value = 7").await;
    browser.click("locked").await;
    browser.until("they wait", &shows("queue", "7 calls of this instance; 1 instance at the store")).await;
    let other_browser = Browser::start().await.expect("one has started");
    other_browser.go(&other_shop.url()).await;
    other_browser.until("it has a line", "document.getElementById('queue').textContent.endsWith('at the store')").await;
    other_browser.click("stalling").await;
    for browser in [&browser, &other_browser] {
        let both = "document.getElementById('queue').textContent.endsWith('; 2 instances at the store')";
        browser.until("both are in line", both).await;
    }
    assert!(redis.admin().delete("sale:sneakers"));
    // Those who were first are done soon; then, for two seconds, the one who stalls has it.
    let stalls = format!(r"/^buyer \d+ of instance {}$/", other_shop.instance());
    browser
        .until("the other instance has it", &format!("{stalls}.test(document.getElementById('holder').textContent)"))
        .await;
    let left = browser.run(left).await.as_i64().expect("a number");
    assert!((0..=2000).contains(&left), "{left} ms");
    browser.until("nobody has it any more", &shows("holder", "nobody")).await;
    browser.until("nobody waits", &shows("queue", "nobody")).await;
}

/// Promise: the page lists every function under a lock, with the template of its key, its arguments, its place in the source; and
/// says of those with one template that they exclude each other.
///
/// Turned red by: a list that is written by hand; two functions of one template that are not told of.
#[tokio::test]
async fn the_page_lists_every_function_under_a_lock() {
    let Some(browser) = Browser::start().await else { return };
    let shop = Shop::in_memory();
    open(&browser, &shop).await;
    let listed = browser
        .run("return [...document.querySelectorAll('#functions li')].map((each) => [...each.children].map((part) => part.textContent))")
        .await;
    let listed = listed.as_array().expect("an array");
    let of = |name: &str| {
        let start = format!("{name}, ");
        let parts = listed.iter().filter_map(|parts| parts.as_array()).find(|parts| {
            parts[1].as_str().is_some_and(|place| place.starts_with(&start) && place.contains("examples/web/"))
        });
        parts.unwrap_or_else(|| panic!("{name} in {listed:#?}"))
    };
    assert_eq!(listed.len(), 5, "{listed:#?}");
    assert_eq!(of("pay")[0], json!("order:{id}"));
    assert!(of("report")[2].as_str().is_some_and(|written| written.contains("ttl = \"30s\"")), "{listed:#?}");
    assert_eq!(of("pay").len(), 3, "nobody else locks orders");
    assert_eq!(of("restock")[3], json!("The same keys as buy: they exclude each other."));
}
