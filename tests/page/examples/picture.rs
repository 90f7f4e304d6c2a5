//! Makes the README's pictures of the live page anew, in light and in dark:
//!
//! ```sh
//! cargo run -p lock-page-tests --example picture
//! ```
//!
//! Two instances on one Redis, whose buyers take turns; one stalls, and loses the lock.

use std::fs;
use std::path::Path;

use lock_page_tests::{Browser, Shop};
use lock_tests::RedisServer;

const LOCK: &str = "sale:sneakers";

#[tokio::main]
async fn main() {
    let Some(browser) = Browser::start().await else { return };
    let Some(other_browser) = Browser::start().await else { return };
    let redis = RedisServer::start();
    let (shop, other_shop) = (Shop::on(&redis), Shop::on(&redis));
    browser.screen(1120, 860).await;
    browser.go(&shop.url()).await;
    other_browser.go(&other_shop.url()).await;

    // Everybody comes before the first is let in.
    redis.admin().set(LOCK, "somebody else", &["PX", "60000"]);
    let waiting = |buyers: u32| format!("document.querySelectorAll('#bars [data-part=waiting]').length === {buyers}");
    for browser in [&browser, &other_browser] {
        browser.run("document.getElementById('buyers').value = 18").await;
        browser.until("the page is told of the stock", "document.getElementById('left').textContent === '20'").await;
    }
    browser.click("locked").await;
    browser.until("the first crowd", &waiting(18)).await;
    other_browser.click("stalling").await;
    browser.until("the one who stalls", &waiting(19)).await;
    other_browser.click("locked").await;
    browser.until("the second crowd", &waiting(37)).await;
    redis.admin().delete(LOCK);
    browser.until("the end", "verdict.textContent.startsWith('Sold out, exactly')").await;

    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples/web");
    browser.run("document.activeElement.blur()").await;
    for (scheme, name) in [("light", "picture.png"), ("dark", "picture-dark.png")] {
        browser.prefer("prefers-color-scheme", scheme).await;
        let picture = browser.picture().await;
        println!("{name}: {} bytes", picture.len());
        fs::write(directory.join(name), picture).expect("write the picture");
    }
}
