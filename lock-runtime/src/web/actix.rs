//! Answers and middleware of actix-web.

use std::future::{Ready, ready};
use std::task::{Context, Poll};

use actix_web::dev::{Service, Transform};
use actix_web::http::StatusCode;
use actix_web::http::header::RETRY_AFTER;
use actix_web::{HttpResponse, ResponseError};

use super::{Answer, LockFuture, LockLayer, LockService};
use crate::attribute::LockOutput;
use crate::error::LockError;

fn status(answer: &Answer) -> StatusCode {
    // All of ours are valid.
    StatusCode::from_u16(answer.problem.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)
}

/// The answer to the client; see the module [`web`](crate::web). The error itself is in
/// [`HttpResponse::error`], where a middleware finds it for the log.
impl ResponseError for LockError {
    fn status_code(&self) -> StatusCode {
        status(&Answer::to(self))
    }

    fn error_response(&self) -> HttpResponse {
        let answer = Answer::to(self);
        let mut response = HttpResponse::build(status(&answer));
        if let Some(seconds) = answer.retry_after {
            response.insert_header((RETRY_AFTER, seconds));
        }
        response.content_type(Answer::CONTENT_TYPE).body(answer.problem.json)
    }
}

/// For handlers that return a plain response. One with a status of 400 or more is the handler's own failure: it is returned as
/// it is, even if the lease had ended before the handler did.
impl LockOutput for HttpResponse {
    fn from_lock_error(error: LockError) -> Self {
        Self::from_error(error)
    }

    fn is_failure(&self) -> bool {
        self.status().is_client_error() || self.status().is_server_error()
    }
}

impl<S: Service<R>, R> Transform<S, R> for LockLayer {
    type Response = S::Response;
    type Error = S::Error;
    type Transform = LockService<S>;
    type InitError = ();
    type Future = Ready<Result<Self::Transform, Self::InitError>>;

    fn new_transform(&self, service: S) -> Self::Future {
        ready(Ok(self.around(service)))
    }
}

impl<S: Service<R>, R> Service<R> for LockService<S> {
    type Response = S::Response;
    type Error = S::Error;
    type Future = LockFuture<S::Future>;

    fn poll_ready(&self, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.service.poll_ready(cx)
    }

    fn call(&self, request: R) -> Self::Future {
        LockFuture::new(&self.manager, || self.service.call(request))
    }
}
