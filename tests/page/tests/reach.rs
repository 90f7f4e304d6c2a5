//! Who can use the page: on a phone, by keyboard, in light and dark, with eyes that need contrast.

use lock_page_tests::{Browser, Key, Shop};
use serde_json::{Value, json};

const ENDED: &str = "document.getElementById('verdict').textContent.startsWith('Sold out, exactly')";

async fn open(browser: &Browser, shop: &Shop) {
    browser.go(&shop.url()).await;
    browser.until("the page is told of the stock", "document.getElementById('left').textContent === '20'").await;
    browser.until("it shows the code", "document.querySelector('#code .attribute')").await;
}

/// Promise: on a screen of 360 pixels nothing sticks out to the side, before a sale and after it, and what is to be tapped is as
/// high as a finger is wide.
///
/// Turned red by: a fixed width above 360 pixels; code lines that do not wrap; buttons of 30 pixels.
#[tokio::test]
async fn on_a_phone() {
    let Some(browser) = Browser::start().await else { return };
    let shop = Shop::in_memory();
    browser.screen(360, 740).await;
    open(&browser, &shop).await;
    let outside = "return [...document.querySelectorAll('body *')].filter((each) => each.getBoundingClientRect().right > 360.5) \
                   .map((each) => each.outerHTML.slice(0, 80))";
    for moment in ["before", "after"] {
        assert_eq!(browser.run("return document.documentElement.scrollWidth").await, json!(360), "{moment} the sale");
        assert_eq!(browser.run(outside).await, json!([]), "{moment} the sale");
        browser.click("locked").await;
        browser.until("the sale ends", ENDED).await;
    }
    let low = "return [...document.querySelectorAll('button, input')].filter((each) => each.offsetHeight < 44).length";
    assert_eq!(browser.run(low).await, json!(0));
}

/// Promise: without a mouse, a sale is started by Tab and Enter, and the timeline is read by the arrow keys; one sees where one
/// is.
///
/// Turned red by: buttons that are no buttons; a timeline without `tabindex`; `outline: none`.
#[tokio::test]
async fn by_keyboard() {
    let Some(browser) = Browser::start().await else { return };
    let shop = Shop::in_memory();
    open(&browser, &shop).await;
    let focus = "return document.activeElement.id";
    let outline = "return getComputedStyle(document.activeElement).outlineStyle";
    for expected in ["buyers", "locked", "unlocked", "stalling", "plot"] {
        browser.press(&[Key::TAB]).await;
        assert_eq!(browser.run(focus).await, json!(expected));
        assert_eq!(browser.run(outline).await, json!("solid"), "{expected} shows that it has the focus");
    }
    browser.run("document.activeElement.blur()").await;
    browser.go(&shop.url()).await;
    browser.press(&[Key::TAB, Key::TAB, Key::ENTER]).await;
    browser.until("the sale ends", ENDED).await;

    browser.press(&[Key::TAB, Key::TAB, Key::TAB, Key::DOWN]).await;
    // Who came first is not always served first: between coming and asking, a busy machine may do other things.
    let read = r"/^Buyer \d+ .*(bought a pair|found nothing left)/.test(readout.textContent)";
    browser.until("the first row is read out", read).await;
    let first = browser.text("readout").await;
    browser.press(&[Key::DOWN]).await;
    browser.until("the next row is read out", &format!("readout.textContent !== {}", json!(first))).await;
}

/// Promise: in light and in dark, all text has the contrast that WCAG AA asks for, after a sale that ended well and after one
/// that did not.
///
/// Turned red by: a `--quiet` of `#8a8a8a` in light, or `#666` in dark.
#[tokio::test]
async fn in_light_and_dark() {
    let Some(browser) = Browser::start().await else { return };
    let shop = Shop::in_memory();
    let mut grounds = Vec::new();
    for scheme in ["light", "dark"] {
        browser.prefer("prefers-color-scheme", scheme).await;
        browser.go(&shop.url()).await;
        for (button, words) in [("locked", "Sold out"), ("unlocked", "Oversold")] {
            browser.click(button).await;
            browser.until(words, &format!("verdict.textContent.startsWith('{words}')")).await;
            let contrasts = browser.run(CONTRASTS).await;
            let contrasts = contrasts.as_array().expect("an array");
            assert!(contrasts.len() > 20, "texts were found: {contrasts:?}");
            let poor: Vec<_> = contrasts.iter().filter(|text| ratio(text) < 4.5).collect();
            assert!(poor.is_empty(), "{scheme}: {poor:#?}");
        }
        grounds.push(browser.run("return getComputedStyle(document.body).backgroundColor").await);
    }
    assert_ne!(grounds[0], grounds[1], "two schemes");
}

fn ratio(text: &Value) -> f64 {
    text["ratio"].as_f64().expect("a number")
}

/// Of each element that has text of its own: the text, and the contrast of its colour with what is behind it, by WCAG's formula.
const CONTRASTS: &str = r"
    const channels = (colour) => {
        const [r, g, b, a] = colour.match(/[\d.]+/g).map(Number);
        return colour.startsWith('color(srgb') ? [255 * r, 255 * g, 255 * b, a] : [r, g, b, a];
    };
    const luminance = (colour) => {
        const [r, g, b] = channels(colour).map((c) => (c /= 255) <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4);
        return 0.2126 * r + 0.7152 * g + 0.0722 * b;
    };
    const ground = (element) => {
        const colour = getComputedStyle(element).backgroundColor;
        return channels(colour)[3] === 0 ? ground(element.parentElement) : colour;
    };
    return [...document.querySelectorAll('body *')]
        .filter((each) => [...each.childNodes].some((node) => node.nodeType === 3 && node.data.trim()))
        .map((each) => {
            const style = getComputedStyle(each);
            const colour = each instanceof SVGElement ? style.fill : style.color;
            const [one, other] = [luminance(colour), luminance(ground(each))].sort((a, b) => b - a);
            return { text: each.textContent.trim().slice(0, 40), ratio: (one + 0.05) / (other + 0.05) };
        });
";

/// Promise: nothing on the page jumps while a sale goes on.
///
/// Turned red by: leaving out the `min-height` of the verdict on a phone, or the height of the plot.
#[tokio::test]
async fn nothing_jumps() {
    let Some(browser) = Browser::start().await else { return };
    for width in [360, 1280] {
        let shop = Shop::in_memory();
        browser.screen(width, 900).await;
        open(&browser, &shop).await;
        let tops = "return [...document.querySelectorAll('main *:not(svg *)')].filter((each) => !each.closest('.pair')) \
                    .map((each) => [each.id || each.className || each.tagName, each.offsetTop])";
        let before = browser.run(tops).await;
        for (button, words) in [("unlocked", "^Oversold"), ("stalling", "^0 pairs"), ("locked", "^Sold out")] {
            browser.click(button).await;
            let condition = format!("/{words}/.test(verdict.textContent) && document.body.dataset.running === 'false'");
            browser.until(words, &condition).await;
            assert_eq!(browser.run(tops).await, before, "after {button}, at {width} pixels");
        }
    }
}

/// Promise: for those who asked the system for less motion, the picture is drawn four times a second at most.
///
/// Turned red by: `requestAnimationFrame` for everybody.
#[tokio::test]
async fn with_less_motion() {
    let Some(browser) = Browser::start().await else { return };
    let shop = Shop::in_memory();
    browser.prefer("prefers-reduced-motion", "reduce").await;
    open(&browser, &shop).await;
    let count = "window.pictures = 0; window.begun = performance.now(); \
                 new MutationObserver(() => window.pictures++).observe(bars, { childList: true })";
    browser.run(count).await;
    browser.click("locked").await;
    browser.until("the sale ends", ENDED).await;
    let pictures = browser.run("return [window.pictures, (performance.now() - window.begun) / 250]").await;
    let (drawn, quarters) = (pictures[0].as_f64().expect("a number"), pictures[1].as_f64().expect("a number"));
    assert!(drawn >= 2.0 && drawn <= quarters + 1.0, "{drawn} pictures in {quarters} quarters of a second");
}
