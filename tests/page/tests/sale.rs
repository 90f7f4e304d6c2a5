//! Promises of the page, read from the page itself, by way of the picture and the words that a visitor sees.

use std::collections::HashSet;

use lock_page_tests::{Bar, Browser, PATIENCE, Shop, bars};
use lock_tests::RedisServer;

/// How many pairs there are, and how many buyers come unless told otherwise.
const PIECES: usize = 20;
const BUYERS: usize = 60;

const ENDED: &str = "document.body.dataset.running === 'false' && document.querySelector('#bars [data-part]')";

async fn open(browser: &Browser, shop: &Shop) {
    browser.go(&shop.url()).await;
    browser.until("the page is told of the stock", "document.getElementById('left').textContent === '20'").await;
}

/// Waits for the end of a sale, and for the words about it.
async fn ended(browser: &Browser, words: &str) {
    browser.until("the sale ends", ENDED).await;
    browser.until(words, &format!("document.getElementById('verdict').textContent.includes('{words}')")).await;
}

/// As many buyers are shown, whether they still wait or not.
fn waiting(buyers: usize) -> String {
    format!("document.querySelectorAll('#bars [data-part=waiting]').length === {buyers}")
}

/// Has the lock, as a program of somebody else, until everybody stands in line for it.
fn hold(redis: &RedisServer) {
    redis.admin().set("sale:sneakers", "somebody else", &["PX", "300000"]);
}

fn let_go(redis: &RedisServer) {
    assert!(redis.admin().delete("sale:sneakers"));
}

fn of<'a>(bars: &'a [Bar], part: &str) -> Vec<&'a Bar> {
    bars.iter().filter(|bar| bar.part == part).collect()
}

/// How many pairs of bars are drawn at the same time.
fn overlapping(bars: &[&Bar]) -> usize {
    let pairs = bars.iter().enumerate().flat_map(|(row, one)| bars[row + 1..].iter().map(move |other| (one, other)));
    pairs.filter(|(one, other)| one.overlaps(other)).count()
}

/// Promise: with the lock, sixty buyers get the twenty pairs, the stock ends at zero, and of the bars that hold the lock no two
/// are drawn at the same time.
///
/// Turned red by: leaving the attribute of `buy` out; a queue that lets two callers through.
#[tokio::test]
async fn with_the_lock_it_sells_out_exactly() {
    let Some(browser) = Browser::start().await else { return };
    let shop = Shop::in_memory();
    open(&browser, &shop).await;
    browser.click("locked").await;
    ended(&browser, "Sold out, exactly: 20 pairs sold, 0 left. 60 buyers came, and went in one at a time.").await;

    assert_eq!(browser.text("left").await, "0");
    assert_eq!(browser.text("sold").await, "20");
    assert_eq!(browser.text("inside").await, "1");
    let bars = bars(&browser).await;
    let holding = of(&bars, "holding");
    assert_eq!((of(&bars, "waiting").len(), holding.len(), of(&bars, "lost").len()), (BUYERS, BUYERS, 0));
    assert!(holding.iter().all(|bar| bar.lock.as_deref() == Some("sale:sneakers") && !bar.marked), "{holding:#?}");
    assert!(holding.iter().filter(|bar| bar.to - bar.from > 1.0).count() >= PIECES, "bars that can be seen");
    assert_eq!(overlapping(&holding), 0, "{holding:#?}");
}

/// The test above can fail: without the lock, everybody looks before anybody has paid. The page says so in words, and draws it.
#[tokio::test]
async fn without_the_lock_it_oversells() {
    let Some(browser) = Browser::start().await else { return };
    let shop = Shop::in_memory();
    open(&browser, &shop).await;
    browser.click("unlocked").await;
    ended(&browser, "Oversold: ").await;

    let left: i64 = browser.text("left").await.replace('−', "-").parse().expect("a number");
    let sold: i64 = browser.text("sold").await.parse().expect("a number");
    assert!(left < 0 && sold == 20 - left, "{left} left, {sold} sold");
    let words = browser.text("verdict").await;
    assert!(words.contains(&format!("{sold} pairs sold, but there were only 20.")), "{words}");
    let bars = bars(&browser).await;
    let holding = of(&bars, "holding");
    assert_eq!(holding.len(), BUYERS);
    assert!(holding.iter().all(|bar| bar.lock.is_none()), "{holding:#?}");
    assert!(overlapping(&holding) > BUYERS, "drawn side by side: {holding:#?}");
    assert!(holding.iter().filter(|bar| bar.marked).count() > PIECES, "marked as such: {holding:#?}");
}

/// Promise: a buyer who stalls with the lock loses it when the lease ends, which is drawn, and buys nothing; those who waited
/// behind get all twenty pairs.
///
/// Turned red by: `on_lost = "proceed"` in the attribute of `buy`, or a body that is polled past its lease: it takes the
/// twenty-first pair.
#[tokio::test]
async fn who_stalls_loses_the_lock() {
    let Some(browser) = Browser::start().await else { return };
    let redis = RedisServer::start();
    let shop = Shop::on(&redis);
    open(&browser, &shop).await;
    hold(&redis);
    browser.click("stalling").await;
    browser.until("one waits", &waiting(1)).await;
    browser.click("locked").await;
    browser.until("all others wait behind", &waiting(BUYERS + 1)).await;
    let_go(&redis);
    ended(&browser, "Sold out, exactly: 20 pairs sold, 0 left.").await;

    // The page alone would say as much once the lease is over: the body has to have said it, when it was dropped.
    browser.until("the body has ended", "document.querySelector('#bars [data-part=lost][data-outcome=lost]')").await;
    let words = browser.text("verdict").await;
    assert!(words.contains("1 buyer stalled, lost the lock, and bought nothing."), "{words}");
    let bars = bars(&browser).await;
    let mut inside = of(&bars, "holding");
    let lost = of(&bars, "lost");
    assert_eq!((inside.len(), lost.len()), (BUYERS, 1));
    inside.extend(lost);
    assert_eq!(overlapping(&inside), 0, "{inside:#?}");
}

/// Promise: two instances on one Redis show the same buyers, their own and each other's, and together sell what there is.
///
/// Turned red by: a timeline, a stock or locks that stay within the process; recording that a buyer has left after the lock was
/// given back.
#[tokio::test]
async fn two_instances_show_each_other() {
    let Some(browser) = Browser::start().await else { return };
    let Some(other_browser) = Browser::start().await else { return };
    let redis = RedisServer::start();
    let (shop, other_shop) = (Shop::on(&redis), Shop::on(&redis));
    open(&browser, &shop).await;
    open(&other_browser, &other_shop).await;
    hold(&redis);
    browser.click("locked").await;
    other_browser.click("locked").await;
    for browser in [&browser, &other_browser] {
        browser.until("the buyers of both are shown", &waiting(2 * BUYERS)).await;
    }
    let_go(&redis);
    for browser in [&browser, &other_browser] {
        ended(browser, "Sold out, exactly: 20 pairs sold, 0 left. 120 buyers came").await;
    }

    let (bars, other_bars) = (bars(&browser).await, bars(&other_browser).await);
    let buyers = |bars: &[Bar]| bars.iter().map(|bar| (bar.buyer.clone(), bar.part.clone())).collect::<HashSet<_>>();
    assert_eq!(buyers(&bars), buyers(&other_bars));
    for bars in [&bars, &other_bars] {
        let inside: Vec<_> = bars.iter().filter(|bar| bar.part != "waiting").collect();
        assert_eq!(overlapping(&inside), 0, "{inside:#?}");
        for instance in [shop.instance(), other_shop.instance()] {
            assert_eq!(inside.iter().filter(|bar| bar.instance == instance).count(), BUYERS, "of {instance}");
        }
    }
}

/// Promise: a page that is opened after the sale shows it, on an instance that was started after it as well.
///
/// Turned red by: a feed without a history; a reader of the stream that begins at its end.
#[tokio::test]
async fn who_comes_late_is_told() {
    let Some(browser) = Browser::start().await else { return };
    let redis = RedisServer::start();
    let shop = Shop::on(&redis);
    open(&browser, &shop).await;
    browser.click("locked").await;
    ended(&browser, "Sold out, exactly").await;
    for late in [&shop, &Shop::on(&redis)] {
        browser.go(&late.url()).await;
        ended(&browser, "Sold out, exactly: 20 pairs sold, 0 left. 60 buyers came").await;
        assert_eq!(of(&bars(&browser).await, "holding").len(), BUYERS);
    }
}

/// Promise: an open page does not keep the service from ending at Ctrl-C.
///
/// Turned red by: leaving out `feed.close()`.
#[tokio::test]
async fn it_ends_while_the_page_is_open() {
    let Some(browser) = Browser::start().await else { return };
    let mut shop = Shop::in_memory();
    open(&browser, &shop).await;
    shop.program().interrupt();
    let (status, output) = shop.program().finish(PATIENCE);
    assert!(status.success(), "{output}");
    browser.until("the page says so", "document.getElementById('where').textContent.includes('does not answer')").await;
}
