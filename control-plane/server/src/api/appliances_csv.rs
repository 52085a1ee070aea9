//! The list of boxes as a table for spreadsheets: all of it, whatever its length, as it is read. A table that cannot be read to its
//! end breaks the transfer off: half of one must not look whole.
//!
//! A cell that a spreadsheet would run as a formula begins with an apostrophe:
//! <https://owasp.org/www-community/attacks/CSV_Injection>.

use super::App;
use super::access::Access;
use super::appliances::Wanted;
use super::problem::ApiError;
use crate::clock;
use crate::fleet::{self, Appliance, Filter, Place};
use crate::store::{Row, StoreError, Tx, fence};
use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::header;
use axum::response::{IntoResponse, Response};
use futures_core::Stream;
use std::collections::BTreeMap;
use std::pin::Pin;
use std::task::{Context, Poll};
use tokio::sync::mpsc;

/// Boxes that are read at once.
const PAGE: u64 = 500;
const HEAD: &str =
    "id,name,customer,site,tags,presence,last_heard_ms,protected,reasons,disks,firmware,enrolled_ms,revoked_ms\r\n";

/// The list of boxes as CSV (RFC 4180), with the same filter and order; all of it, whatever `limit` says.
#[utoipa::path(
    get,
    path = "/api/v1/appliances.csv",
    tag = "people",
    operation_id = "download_appliances",
    params(Wanted),
    responses((status = 200, description = "Done", body = String, content_type = "text/csv")),
)]
pub(super) async fn csv(State(app): State<App>, access: Access, wanted: Wanted) -> Result<Response, ApiError> {
    let place = wanted.place()?;
    let sort = wanted.sort();
    let read = app.store.read(move |tx| Ok::<_, ApiError>((wanted.filter(tx, &access)?, places(tx)?)));
    let (filter, places) = read.await?;
    let (rows, waiting) = mpsc::channel(4);
    tokio::spawn(fence::as_here(async move {
        let mut place: Option<Place> = place;
        if rows.send(Ok(HEAD.into())).await.is_err() {
            return;
        }
        loop {
            let (filter, after, ears): (Filter, _, _) = (filter.clone(), place.clone(), app.heart.ears());
            let read =
                app.store.read(move |tx| fleet::page(tx, &filter, (sort, after.as_ref(), PAGE), (&ears, clock::now())));
            let (boxes, next): (Vec<Appliance>, Option<Place>) = match read.await {
                Ok(page) => page,
                Err(error) => {
                    tracing::error!(error = &error as &dyn std::error::Error, "a table of boxes ends too soon");
                    // Whoever went away does not have to know.
                    let _ = rows.send(Err(error)).await;
                    return;
                }
            };
            let text: String = boxes.iter().map(|appliance| line(appliance, &places)).collect();
            if rows.send(Ok(text.into())).await.is_err() || next.is_none() {
                return;
            }
            place = next;
        }
    }));
    let kind = (header::CONTENT_TYPE, "text/csv; charset=utf-8");
    let name = (header::CONTENT_DISPOSITION, "attachment; filename=\"appliances.csv\"");
    Ok(([kind, name], Body::from_stream(Rows(waiting))).into_response())
}

struct Rows(mpsc::Receiver<Result<Bytes, StoreError>>);

impl Stream for Rows {
    type Item = Result<Bytes, StoreError>;
    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.0.poll_recv(context)
    }
}

/// Names of sites and of the customers above them.
fn places(tx: &mut dyn Tx) -> Result<BTreeMap<String, (String, String)>, ApiError> {
    let sql = "SELECT s.id, s.name, COALESCE(c.name, '') FROM node s LEFT JOIN node c ON c.id = s.parent WHERE s.kind = 'site'";
    let place = |row: &Row| Ok((row.text(0)?.to_owned(), (row.text(1)?.to_owned(), row.text(2)?.to_owned())));
    tx.query(sql, &[])?.iter().map(place).collect()
}

fn line(appliance: &Appliance, places: &BTreeMap<String, (String, String)>) -> String {
    let said = serde_json::to_value(appliance).unwrap_or_default();
    let text = |name: &str| match &said[name] {
        serde_json::Value::String(text) => text.clone(),
        serde_json::Value::Null => String::new(),
        other => other.to_string(),
    };
    let words = |list: &serde_json::Value| {
        let words = list.as_array().into_iter().flatten();
        words.filter_map(|word| word.as_str().map(str::to_owned)).collect::<Vec<String>>()
    };
    let disks = said["disks"].as_array().cloned().unwrap_or_default();
    let mut reasons = words(&said["not_protected"]);
    reasons.extend(disks.iter().flat_map(|disk| words(&disk["not_protected"])));
    reasons.sort();
    reasons.dedup();
    let (site, customer) = places.get(&text("site")).cloned().unwrap_or_else(|| (text("site"), String::new()));
    let cells = [
        text("id"),
        text("name"),
        customer,
        site,
        words(&said["tags"]).join(" "),
        text("presence"),
        text("heard_ms"),
        text("protected"),
        reasons.join(" "),
        disks.len().to_string(),
        text("firmware"),
        text("enrolled_ms"),
        text("revoked_ms"),
    ];
    format!("{}\r\n", cells.map(|text| cell(&text)).join(","))
}

fn cell(text: &str) -> String {
    let text = if text.starts_with(['=', '+', '-', '@', '\t', '\r']) { format!("'{text}") } else { text.to_owned() };
    if text.contains([',', '"', '\n', '\r']) { format!("\"{}\"", text.replace('"', "\"\"")) } else { text }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cell_is_text_and_never_a_formula() {
        let cases = [
            ("under the till", "under the till"),
            ("one, two", "\"one, two\""),
            ("a \"box\"", "\"a \"\"box\"\"\""),
            ("=HYPERLINK(\"x\")", "\"'=HYPERLINK(\"\"x\"\")\""),
            ("-1", "'-1"),
            ("two\nlines", "\"two\nlines\""),
            ("", ""),
        ];
        for (text, expected) in cases {
            assert_eq!(cell(text), expected, "{text}");
        }
    }
}
