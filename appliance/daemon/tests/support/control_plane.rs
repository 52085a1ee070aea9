//! The other side of a test: a real Mosquitto with certificates and rules as the control plane makes them, and a client that
//! plays the ingest.

#![allow(dead_code, reason = "every test uses another part")]

use super::Appliance;
use aws_lc_rs::signature::Ed25519KeyPair;
use rcgen::{BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair};
use rumqttc::mqttbytes::QoS;
use rumqttc::{AsyncClient, Event, Incoming, MqttOptions, PublishOptions, TlsConfiguration, Transport};
use saveos_protocol::ack::Ack;
use saveos_protocol::enrol::{Enrolment, Floor};
use saveos_protocol::fact::{Fact, FactNumber};
use saveos_protocol::hex::Digest;
use saveos_protocol::id::DeviceId;
use saveos_protocol::shadow::Uplink;
use saveos_protocol::time::Timestamp;
use saveos_protocol::topic::{Down, Filter, Up};
use saveos_protocol::unit::Seconds;
use saveos_protocol::{Message, Topic, V1, decode, encode, sign};
use std::io::Write;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// The command key of the test.
pub(crate) fn command_key() -> Ed25519KeyPair {
    Ed25519KeyPair::from_seed_unchecked(&[7; 32]).expect("a key")
}

/// A broker and who may talk to it.
pub(crate) struct ControlPlane {
    folder: tempfile::TempDir,
    broker: Option<Child>,
    port: u16,
    authority: Issuer<'static, KeyPair>,
    authority_pem: String,
    runtime: tokio::runtime::Runtime,
}

/// What arrived.
pub(crate) struct Arrived {
    pub(crate) topic: Topic,
    pub(crate) payload: Vec<u8>,
}

impl ControlPlane {
    /// `None` where no Mosquitto is installed.
    pub(crate) fn new() -> Option<ControlPlane> {
        let found = ["/usr/sbin/mosquitto", "/usr/bin/mosquitto"].into_iter().any(|path| Path::new(path).exists());
        if !found {
            println!("SKIPPED: no mosquitto");
            return None;
        }
        let key = KeyPair::generate().expect("a key");
        let mut params = named("a test's authority");
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        let certificate = params.self_signed(&key).expect("a certificate");
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build();
        let socket = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
        let mut control = ControlPlane {
            folder: tempfile::tempdir().expect("a folder"),
            broker: None,
            port: socket.local_addr().expect("a port").port(),
            authority_pem: certificate.pem(),
            authority: Issuer::new(params, key),
            runtime: runtime.expect("a runtime"),
        };
        drop(socket);
        control.write_files();
        control.start_broker();
        Some(control)
    }

    fn write_files(&self) {
        let key = KeyPair::generate().expect("a key");
        let mut params = CertificateParams::new(vec!["localhost".to_owned()]).expect("a name");
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        let certificate = params.signed_by(&key, &self.authority).expect("a certificate");
        self.put("ca.pem", &self.authority_pem);
        self.put("server.pem", &certificate.pem());
        self.put("server.key", &key.serialize_pem());
        self.put(
            "acl",
            "user cp\ntopic readwrite saveos/v1/#\n\npattern write saveos/v1/d/%u/up/#\npattern read saveos/v1/d/%u/dn/#\n",
        );
        self.put(
            "mosquitto.conf",
            &format!(
                "allow_anonymous false\nacl_file {0}/acl\nlog_dest stderr\nmax_inflight_messages 2000\n\
                 max_queued_messages 100000\nset_tcp_nodelay true\nlistener {1} 127.0.0.1\ncafile {0}/ca.pem\n\
                 certfile {0}/server.pem\nkeyfile {0}/server.key\ntls_version tlsv1.3\nrequire_certificate true\n\
                 use_identity_as_username true\nuse_username_as_clientid true\nuser root\n",
                self.folder.path().display(),
                self.port
            ),
        );
    }

    fn put(&self, name: &str, text: &str) {
        let file = std::fs::File::create(self.folder.path().join(name));
        file.and_then(|mut file| file.write_all(text.as_bytes())).expect("room");
    }

    /// Starts the broker, with an empty memory.
    pub(crate) fn start_broker(&mut self) {
        let mut command = Command::new("mosquitto");
        command.env("PATH", "/usr/sbin:/usr/bin").arg("-c").arg(self.folder.path().join("mosquitto.conf"));
        let log = std::fs::File::options().create(true).append(true).open(self.folder.path().join("log"));
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log.expect("a log"));
        self.broker = Some(command.spawn().expect("mosquitto starts"));
        for _ in 0..500 {
            if std::net::TcpStream::connect(("127.0.0.1", self.port)).is_ok() {
                return;
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        panic!("mosquitto does not listen");
    }

    /// `kill -9`: it forgets everything.
    pub(crate) fn kill_broker(&mut self) {
        let mut broker = self.broker.take().expect("it runs");
        broker.kill().expect("it runs");
        broker.wait().expect("it ran");
    }

    /// Freezes it or lets it go on: its connections stay, and nothing answers.
    pub(crate) fn signal_broker(&self, signal: rustix::process::Signal) {
        let id = rustix::process::Pid::from_child(self.broker.as_ref().expect("it runs"));
        rustix::process::kill_process(id, signal).expect("it runs");
    }

    /// Gives a box its certificate: for the key that it made itself.
    pub(crate) fn enrol(&self, appliance: &Appliance) -> DeviceId {
        let text = std::fs::read_to_string(appliance.data().join("device.key")).expect("the box has a key");
        let (device, hex) = text.trim().split_once('\n').expect("a name and a key");
        let bytes: Vec<u8> =
            (0..hex.len() / 2).map(|at| u8::from_str_radix(&hex[2 * at..2 * at + 2], 16).expect("hex")).collect();
        let key = KeyPair::try_from(bytes.as_slice()).expect("a key on P-256");
        let mut params = named(device);
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        let certificate = params.signed_by(&key, &self.authority).expect("a certificate");
        let device: DeviceId = device.parse().expect("a device id");
        let authority = pem::parse(&self.authority_pem).expect("PEM");
        let sha256 = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, authority.contents());
        let enrolment = Enrolment {
            v: V1,
            device,
            ts: Timestamp::default(),
            owner: "a test".parse().expect("a text"),
            certificates: certificate.pem().parse().expect("PEM"),
            authorities: self.authority_pem.parse().expect("PEM"),
            uplink: Uplink {
                brokers: vec![format!("mqtts://localhost:{}", self.port).parse().expect("a URL")],
                server: "https://localhost:1".parse().expect("a URL"),
                ca_sha256: [Digest(sha256.as_ref().try_into().expect("32 bytes"))].into(),
                heartbeat: Seconds::from(60),
            },
            command_key: sign::public_half(&command_key()),
            floor: Floor::default(),
            escrow: None,
        };
        let draft = appliance.data().join("enrolment.new");
        let file = std::fs::File::create(&draft);
        file.and_then(|mut file| file.write_all(&encode(&enrolment).expect("it fits"))).expect("room");
        rustix::fs::rename(&draft, appliance.data().join("enrolment.json")).expect("room");
        device
    }

    /// Connects as the control plane: hears all boxes.
    pub(crate) fn ingest(&self) -> Ingest {
        let key = KeyPair::generate().expect("a key");
        let mut params = named("cp");
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        let certificate = params.signed_by(&key, &self.authority).expect("a certificate");
        let mut options = MqttOptions::new("cp", ("localhost".to_owned(), self.port));
        options.set_transport(Transport::tls_with_config(TlsConfiguration::Simple {
            ca: self.authority_pem.clone().into_bytes(),
            alpn: None,
            client_auth: Some((certificate.pem().into_bytes(), key.serialize_pem().into_bytes())),
        }));
        options.set_clean_start(true);
        let (client, mut events) = AsyncClient::builder(options).capacity(100).build();
        let (to_test, arrived) = std::sync::mpsc::channel();
        let subscriber = client.clone();
        self.runtime.spawn(async move {
            loop {
                match events.poll().await {
                    Ok(Event::Incoming(Incoming::ConnAck(_))) => {
                        subscriber.try_subscribe(Filter::Ingest.to_string(), QoS::AtLeastOnce).expect("room");
                    }
                    Ok(Event::Incoming(Incoming::Publish(message))) => {
                        let topic = String::from_utf8_lossy(&message.topic).parse().expect("a topic of ours");
                        if to_test.send(Arrived { topic, payload: message.payload.to_vec() }).is_err() {
                            return;
                        }
                    }
                    Ok(_) => {}
                    Err(_) => tokio::time::sleep(Duration::from_millis(100)).await,
                }
            }
        });
        Ingest { client, arrived }
    }
}

impl Drop for ControlPlane {
    fn drop(&mut self) {
        if self.broker.is_some() {
            self.kill_broker();
        }
    }
}

fn named(name: &str) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = rcgen::DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, name);
    params
}

/// The control plane's session.
pub(crate) struct Ingest {
    client: AsyncClient,
    arrived: std::sync::mpsc::Receiver<Arrived>,
}

impl Ingest {
    /// Takes messages until one is it; the test fails when none comes in a minute.
    #[track_caller]
    pub(crate) fn wait<T>(&self, what: &str, mut pick: impl FnMut(&Arrived) -> Option<T>) -> T {
        let deadline = Instant::now() + Duration::from_secs(60);
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            let arrived = self.arrived.recv_timeout(left).unwrap_or_else(|_| panic!("never: {what}"));
            if let Some(picked) = pick(&arrived) {
                return picked;
            }
        }
    }

    /// The next fact.
    #[track_caller]
    pub(crate) fn fact(&self) -> Fact {
        self.wait("a fact", |arrived| {
            let Topic::Up(_, Up::Event(kind)) = arrived.topic else { return None };
            let fact: Fact = decode(&arrived.payload).expect("a fact");
            assert_eq!(fact.body.kind(), Some(kind), "the topic says what it is");
            Some(fact)
        })
    }

    /// As after a commit: everything up to this fact is on the disk.
    pub(crate) fn acknowledge(&self, device: DeviceId, fact: &Fact) {
        let ack = Ack { v: V1, stream: fact.stream, n: fact.n, ts: fact.ts, want: None };
        self.say(Topic::Down(device, Down::Ack), &ack);
    }

    /// The control plane was restored from a backup.
    pub(crate) fn want(&self, device: DeviceId, fact: &Fact, from: u64) {
        let (n, want) = (FactNumber::saturating(from - 1), Some(FactNumber::saturating(from)));
        self.say(
            Topic::Down(device, Down::Ack),
            &Ack { v: V1, stream: fact.stream, n, ts: Timestamp::default(), want },
        );
    }

    pub(crate) fn say(&self, topic: Topic, message: &impl Message) {
        let options = PublishOptions::at_least_once().retain(topic.is_retained());
        let json = encode(message).expect("it fits");
        self.client.try_publish(topic.to_string(), json, options).expect("room");
    }
}
