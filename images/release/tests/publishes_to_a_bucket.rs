//! The same repository in a bucket, by the protocol of S3.

mod support;

use support::bucket::Bucket;
use support::workshop;

#[test]
fn a_release_lies_in_a_bucket_as_in_a_folder() {
    let Some(bucket) = Bucket::start() else { return };
    let Some(mut workshop) = workshop() else { return };
    workshop.variables = bucket.environment();
    let place = "s3://releases/stable";
    workshop.root();
    workshop.refuses(&format!("status --at {place} --root 1.json"), "nothing is published at s3://releases/stable");
    workshop.release("1.0.0", None, "");
    workshop.does(&workshop.online("publish", place, "1.json", "--file 1.0.0.raucb targets-1.0.0.json"));
    workshop.release("2.0.0", Some(place), "");
    workshop.does(&workshop.online("publish", place, "1.json", "--file 2.0.0.raucb targets-2.0.0.json"));
    let status = workshop.does(&format!("status --at {place} --root 1.json"));
    assert!(status.contains("saveos-qemu-1.0.0.raucb") && status.contains("saveos-qemu-2.0.0.raucb"), "{status}");

    // As a box asks for it, and as a cache on the way may keep it.
    let (status, headers, body) = bucket.ask("GET", "/releases/stable/metadata/timestamp.json");
    assert!(status.contains(" 200 ") && headers.contains("cache-control: no-cache"), "{status}{headers}");
    assert!(String::from_utf8_lossy(&body).contains(r#""version": 2"#));
    let bundle = std::fs::read(workshop.path("2.0.0.raucb")).expect("made");
    let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, &bundle);
    let name = format!("/releases/stable/targets/{}.saveos-qemu-2.0.0.raucb", saveos_release::hex(digest.as_ref()));
    let (status, headers, body) = bucket.ask("GET", &name);
    assert!(status.contains(" 200 ") && headers.contains("immutable"), "{status}{headers}");
    assert!(body == bundle, "{} bytes of {}", body.len(), bundle.len());

    workshop.variables[0].1 = "http://127.0.0.1:1".to_owned();
    workshop.refuses("status --at s3://releases/stable --root 1.json", "could not use s3://releases/stable");
}
