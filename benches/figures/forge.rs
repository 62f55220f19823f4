//! A forge as far as fetching goes: `git http-backend` as a CGI program (RFC 3875) behind a small server.

use std::path::{Path, PathBuf};
use std::process::Stdio;

use anyhow::{Context, Result};
use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use http_body_util::BodyExt;
use tokio::io::AsyncWriteExt;
use tokio::process::Command;

/// Serves the repositories of a folder until the program ends; returns the address.
pub async fn serve(root: &Path) -> Result<String> {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?;
    let router = Router::new().fallback(answer).with_state(root.to_owned());
    tokio::spawn(async move { axum::serve(listener, router).await });
    Ok(format!("http://{address}"))
}

async fn answer(State(root): State<PathBuf>, request: axum::extract::Request) -> Response {
    let (parts, body) = request.into_parts();
    let answered = async {
        let body = body.collect().await?.to_bytes();
        backend(&root, &parts, body).await
    };
    answered.await.unwrap_or_else(|error| (StatusCode::BAD_GATEWAY, format!("{error:#}")).into_response())
}

/// Has Git answer one request.
pub async fn backend(root: &Path, parts: &Parts, body: Bytes) -> Result<Response> {
    let header =
        |name: &str| parts.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let mut child = Command::new("git")
        .arg("http-backend")
        .env_clear()
        .env("PATH", std::env::var_os("PATH").unwrap_or_default())
        .envs([("GIT_CONFIG_GLOBAL", "/dev/null"), ("GIT_CONFIG_SYSTEM", "/dev/null")])
        .env("GIT_PROJECT_ROOT", root)
        .env("GIT_HTTP_EXPORT_ALL", "1")
        .env("REQUEST_METHOD", parts.method.as_str())
        .env("PATH_INFO", parts.uri.path())
        .env("QUERY_STRING", parts.uri.query().unwrap_or_default())
        .env("CONTENT_TYPE", header("content-type"))
        .env("CONTENT_LENGTH", body.len().to_string())
        .env("HTTP_CONTENT_ENCODING", header("content-encoding"))
        .env("GIT_PROTOCOL", header("git-protocol"))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .context("git http-backend")?;
    let mut stdin = child.stdin.take().context("its standard input")?;
    tokio::spawn(async move { stdin.write_all(&body).await });
    let output = Bytes::from(child.wait_with_output().await?.stdout);
    let end = output.windows(4).position(|window| window == b"\r\n\r\n").context("a header")?;
    let (mut headers, mut status) = (HeaderMap::new(), StatusCode::OK);
    for line in String::from_utf8_lossy(&output.slice(..end)).lines() {
        let Some((name, value)) = line.split_once(": ") else { continue };
        if name == "Status" {
            status = StatusCode::from_bytes(value.get(..3).unwrap_or_default().as_bytes())?;
        } else {
            headers.insert(name.parse::<HeaderName>()?, value.parse::<HeaderValue>()?);
        }
    }
    Ok((status, headers, output.slice(end + 4..)).into_response())
}
