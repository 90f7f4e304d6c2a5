//! Handlers of axum and actix-web, really routed.

use lock_runtime::LockError;
use lock_shape_tests::{under, while_busy};

#[derive(Debug)]
struct AppError(LockError);

impl From<LockError> for AppError {
    fn from(error: LockError) -> Self {
        Self(error)
    }
}

impl std::fmt::Display for AppError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(f)
    }
}

const LOCKED: u16 = 423;

mod with_axum {
    #![allow(
        clippy::diverging_sub_expression,
        clippy::unused_async,
        reason = "of what `#[debug_handler]` writes; it does so without a lock too"
    )]

    use super::{AppError, LOCKED, under, while_busy};
    use axum::body::Body;
    use axum::extract::{Path, State};
    use axum::http::{Request, StatusCode};
    use axum::response::{IntoResponse, Response};
    use axum::routing::{get, post};
    use axum::{Router, debug_handler};
    use lock_runtime::distributed_lock;
    use lock_shape_tests::body;
    use tower::ServiceExt;

    impl IntoResponse for AppError {
        fn into_response(self) -> Response {
            let status = if self.0.is_busy() { StatusCode::LOCKED } else { StatusCode::SERVICE_UNAVAILABLE };
            (status, self.0.to_string()).into_response()
        }
    }

    #[derive(Clone)]
    struct App {
        greeting: String,
    }

    #[distributed_lock(key = "order:{id}", ttl = "5s")]
    async fn plain(Path(id): Path<u64>) -> Result<String, AppError> {
        body();
        Ok(format!("plain {id}"))
    }

    #[debug_handler(state = App)]
    #[distributed_lock(key = "order:{id}", ttl = "5s")]
    async fn below_debug_handler(State(app): State<App>, Path(id): Path<u64>) -> Result<String, AppError> {
        body();
        Ok(format!("{} {id}", app.greeting))
    }

    #[distributed_lock(key = "order:{id}:{part}", ttl = "5s", guard = lock)]
    #[debug_handler(state = App)]
    async fn above_debug_handler(
        State(App { greeting }): State<App>,
        Path((id, part)): Path<(u64, String)>,
        text: String,
    ) -> Result<impl IntoResponse, AppError> {
        body();
        tokio::task::yield_now().await;
        Ok((StatusCode::CREATED, format!("{greeting} {id} {part} {text} {}", lock.key())))
    }

    #[distributed_lock(
        key = "report",
        ttl = "5s",
        on_busy = (StatusCode::ACCEPTED, "somebody is at it").into_response(),
        on_error = |error| AppError(error).into_response()
    )]
    async fn a_response(request: Request<Body>) -> Response {
        body();
        request.uri().to_string().into_response()
    }

    fn app() -> Router {
        Router::new()
            .route("/plain/{id}", get(plain))
            .route("/below/{id}", get(below_debug_handler))
            .route("/above/{id}/{part}", post(above_debug_handler))
            .route("/report", get(a_response))
            .with_state(App { greeting: "hello".to_owned() })
    }

    fn request(method: &str, path: &str) -> Request<Body> {
        Request::builder().method(method).uri(path).body(Body::from("text")).expect("a request")
    }

    async fn answer(method: &str, path: &str) -> (u16, String) {
        let response = app().oneshot(request(method, path)).await.expect("infallible");
        let status = response.status().as_u16();
        let body = axum::body::to_bytes(response.into_body(), 1000).await.expect("short");
        (status, String::from_utf8(body.to_vec()).expect("text"))
    }

    /// Promise: an annotated function is a handler of axum, alone, above and below `#[debug_handler]`.
    #[tokio::test]
    async fn handlers() {
        assert_eq!(under("order:7", answer("GET", "/plain/7")).await, (200, "plain 7".to_owned()));
        assert_eq!(under("order:7", answer("GET", "/below/7")).await, (200, "hello 7".to_owned()));
        let above = under("order:7:b", answer("POST", "/above/7/b")).await;
        assert_eq!(above, (201, "hello 7 b text order:7:b".to_owned()));
        assert_eq!(under("report", answer("GET", "/report")).await, (200, "/report".to_owned()));
    }

    /// Promise: a busy lock is answered by what the application makes of the error, or by `on_busy`.
    #[tokio::test]
    async fn busy_handlers() {
        for (method, path, key) in [("GET", "/plain/7", "order:7"), ("POST", "/above/7/b", "order:7:b")] {
            let (status, text) = while_busy(key, answer(method, path)).await;
            assert_eq!(status, LOCKED);
            assert!(text.contains(key), "{text}");
        }
        assert_eq!(while_busy("report", answer("GET", "/report")).await, (202, "somebody is at it".to_owned()));
    }
}

mod with_actix {
    use super::{AppError, LOCKED, under, while_busy};
    use actix_web::http::StatusCode;
    use actix_web::web::{Data, Path};
    use actix_web::{App, HttpResponse, Responder, ResponseError, get, post, test, web};
    use lock_runtime::{LockManager, distributed_lock};
    use lock_shape_tests::{Recorder, body};

    impl ResponseError for AppError {
        fn status_code(&self) -> StatusCode {
            if self.0.is_busy() { StatusCode::LOCKED } else { StatusCode::SERVICE_UNAVAILABLE }
        }
    }

    #[distributed_lock(key = "order:{id}", ttl = "5s")]
    async fn plain(id: Path<u64>) -> Result<String, AppError> {
        body();
        Ok(format!("plain {id}"))
    }

    #[get("/below/{id}")]
    #[distributed_lock(key = "order:{id}", ttl = "5s")]
    async fn below_get(id: Path<u64>) -> Result<String, AppError> {
        body();
        Ok(format!("below {id}"))
    }

    #[distributed_lock(key = "order:{parts.0}:{parts.1}", ttl = "5s", guard = lock)]
    #[post("/above/{id}/{part}")]
    async fn above_post(parts: Path<(u64, String)>, text: String) -> Result<impl Responder, AppError> {
        body();
        tokio::task::yield_now().await;
        Ok(HttpResponse::Created().body(format!("{} {text} {}", parts.1, lock.key())))
    }

    #[get("/state")]
    #[distributed_lock(
        key = "report",
        ttl = "5s",
        manager = locks.get_ref(),
        on_busy = HttpResponse::Accepted().body("somebody is at it"),
        on_error = |error| AppError(error).error_response()
    )]
    async fn with_state(locks: Data<LockManager>) -> HttpResponse {
        body();
        HttpResponse::Ok().body("done")
    }

    async fn answer(request: test::TestRequest) -> (u16, String) {
        let locks = LockManager::builder(Recorder::new()).key_prefix("app:").build();
        let app = App::new()
            .app_data(Data::new(locks))
            .route("/plain/{id}", web::get().to(plain))
            .service(below_get)
            .service(above_post)
            .service(with_state);
        let app = test::init_service(app).await;
        let response = test::call_service(&app, request.set_payload("text").to_request()).await;
        let status = response.status().as_u16();
        let body = test::read_body(response).await;
        (status, String::from_utf8(body.to_vec()).expect("text"))
    }

    fn to(path: &str) -> test::TestRequest {
        test::TestRequest::get().uri(path)
    }

    /// Promise: an annotated function is a handler of actix-web, alone, above and below `#[get]`.
    #[actix_web::test]
    async fn handlers() {
        assert_eq!(under("order:7", answer(to("/plain/7"))).await, (200, "plain 7".to_owned()));
        assert_eq!(under("order:7", answer(to("/below/7"))).await, (200, "below 7".to_owned()));
        let above = under("order:7:b", answer(test::TestRequest::post().uri("/above/7/b"))).await;
        assert_eq!(above, (201, "b text order:7:b".to_owned()));
        assert_eq!(under("app:report", answer(to("/state"))).await, (200, "done".to_owned()));
    }

    /// Promise: a busy lock is answered by what the application makes of the error.
    #[actix_web::test]
    async fn busy_handlers() {
        for path in ["/plain/7", "/below/7"] {
            let (status, text) = while_busy("order:7", answer(to(path))).await;
            assert_eq!(status, LOCKED);
            assert!(text.contains("order:7"), "{text}");
        }
    }
}
