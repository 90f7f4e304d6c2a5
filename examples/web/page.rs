//! The page, and what it is told while it is open.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::State;
use axum::http::header::CONTENT_TYPE;
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{Html, IntoResponse};
use axum::routing::get;
use futures_util::stream::{self, StreamExt};
use lock_runtime::inventory;
use serde_json::{Value, json};

use crate::feed::{Message, now};
use crate::sale::{Refusal, Sale};
use crate::stock::{PIECES, Stock};

/// How often the pages are told how things stand.
const LOOK: Duration = Duration::from_millis(100);

pub(crate) fn router() -> Router<Arc<Sale>> {
    let file = |kind: &'static str, text: &'static str| get(move || async move { ([(CONTENT_TYPE, kind)], text) });
    Router::new()
        .route("/", get(async || Html(include_str!("page/page.html"))))
        .route("/page.css", file("text/css", include_str!("page/page.css")))
        .route("/page.js", file("text/javascript", include_str!("page/page.js")))
        // The page shows the very code that runs.
        .route("/buy.rs", file("text/plain; charset=utf-8", include_str!("buy.rs")))
        .route("/events", get(events))
}

/// Server-sent events: who is talking, what has happened so far, and from then on whatever happens.
async fn events(State(sale): State<Arc<Sale>>) -> impl IntoResponse {
    let hello = json!({
        "now": now(), "instance": &*sale.instance, "pieces": PIECES,
        "lock": sale.key(), "shared": matches!(sale.stock, Stock::Redis(_)), "functions": functions(),
    });
    let hello = Message { kind: "hello", data: hello.to_string().into() };
    let (history, live) = sale.feed.watch();
    let past = stream::iter([hello].into_iter().chain(history));
    // A page that cannot keep up is sent away as well. It comes back by itself, and is told everything anew.
    let future = stream::unfold(live, async |mut live| Some((live.recv().await.ok().flatten()?, live)));
    let events = past.chain(future).map(|message| Event::default().event(message.kind).data(message.data));
    Sse::new(events.map(Ok::<_, Infallible>)).keep_alive(KeepAlive::default())
}

/// Every function of this program that runs under a lock, as the source code has it.
fn functions() -> Vec<Value> {
    let listed = inventory().into_iter().map(|function| {
        json!({
            "function": function.function, "template": function.template, "arguments": function.arguments,
            "place": format!("{}:{}", function.file, function.line),
        })
    });
    listed.collect()
}

/// Tells the pages how things stand, for as long as there are any.
pub(crate) async fn look(sale: Arc<Sale>) {
    let mut trouble = false;
    loop {
        tokio::time::sleep(LOOK).await;
        if !sale.feed.is_watched() {
            continue;
        }
        match standing(&sale).await {
            Ok(standing) => {
                trouble = false;
                sale.feed.tell("standing", &standing);
            }
            Err(error) => {
                let text = error.to_string();
                if !trouble {
                    eprintln!("{text}");
                }
                trouble = true;
                sale.feed.tell("trouble", &json!(text).to_string());
            }
        }
    }
}

async fn standing(sale: &Sale) -> Result<String, Refusal> {
    let at = now();
    let left = sale.stock.read().await?;
    // Asked of the store, so that it is true whoever has the lock: another instance, or another program.
    let looked = now();
    let lock = sale.locks.inspect(sale.key()).await?.map(|lock| {
        json!({
            "holder": lock.holder.metadata, "remaining": lock.remaining.map(|left| left.as_millis()),
            "here": lock.waiting_here, "processes": lock.in_line,
        })
    });
    Ok(json!({ "left": left, "at": at, "lock": lock, "looked": looked }).to_string())
}
