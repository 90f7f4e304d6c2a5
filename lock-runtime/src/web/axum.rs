//! Answers and layers of axum, and of everything else that is built from tower's services.

use std::task::{Context, Poll};

use axum_core::body::Body;
use axum_core::response::{IntoResponse, Response};
use http::header::{CONTENT_TYPE, RETRY_AFTER};
use http::{HeaderValue, StatusCode};
use tower_layer::Layer;
use tower_service::Service;

use super::{Answer, LockFuture, LockLayer, LockService};
use crate::attribute::LockOutput;
use crate::error::LockError;

fn status(answer: &Answer) -> StatusCode {
    // All of ours are valid.
    StatusCode::from_u16(answer.problem.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)
}

/// The answer to the client; see the module [`web`](crate::web). The error itself is in the response's extensions, where a
/// middleware finds it for the log.
impl IntoResponse for LockError {
    fn into_response(self) -> Response {
        let answer = Answer::to(&self);
        let mut response = Response::new(Body::from(answer.problem.json));
        *response.status_mut() = status(&answer);
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static(Answer::CONTENT_TYPE));
        if let Some(seconds) = answer.retry_after {
            headers.insert(RETRY_AFTER, HeaderValue::from(seconds));
        }
        response.extensions_mut().insert(self);
        response
    }
}

/// For handlers that return `Result<T, Response>`.
impl From<LockError> for Response {
    fn from(error: LockError) -> Self {
        error.into_response()
    }
}

/// For handlers that return `Result<T, StatusCode>`. The status is all that the client is told: no `Retry-After`, no body.
impl From<LockError> for StatusCode {
    fn from(error: LockError) -> Self {
        status(&Answer::to(&error))
    }
}

/// For handlers that return a plain response. One with a status of 400 or more is the handler's own failure: it is returned as
/// it is, even if the lease had ended before the handler did.
impl LockOutput for Response {
    fn from_lock_error(error: LockError) -> Self {
        error.into_response()
    }

    fn is_failure(&self) -> bool {
        self.status().is_client_error() || self.status().is_server_error()
    }
}

impl<S> Layer<S> for LockLayer {
    type Service = LockService<S>;

    fn layer(&self, service: S) -> Self::Service {
        self.around(service)
    }
}

impl<S: Service<R>, R> Service<R> for LockService<S> {
    type Response = S::Response;
    type Error = S::Error;
    type Future = LockFuture<S::Future>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.service.poll_ready(cx)
    }

    fn call(&mut self, request: R) -> Self::Future {
        let Self { service, manager } = self;
        LockFuture::new(manager, || service.call(request))
    }
}
