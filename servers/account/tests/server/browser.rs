//! The page in a real browser: headless Chromium, driven over the DevTools protocol through a pair of pipes.
//! Screenshots are kept in `target/screenshots` for people to look at.

use std::fs::File;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpListener;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::{Duration, Instant};

use base64::Engine as _;
use serde_json::{Value, json};

use super::harness::{Folder, Node, PASSWORD, World};

/// What the browser may take for one thing, on a machine that is busy with others.
const PATIENCE: Duration = Duration::from_secs(60);

#[test]
fn a_person_signs_up_makes_a_key_revokes_a_node_and_mistypes_a_password() {
    let world = World::new();
    let mut browser = Browser::start();
    let url = world.server.url();
    browser.go(&format!("{url}/sign-up"));
    browser.picture("sign-up");
    browser.fill("account", "alice");
    browser.fill("password", PASSWORD);
    browser.press("main form button");
    browser.reach("/nodes", "No nodes yet");
    browser.picture("nodes-none");
    assert_eq!(browser.eval("document.cookie"), "", "scripts cannot see the session");

    browser.go(&format!("{url}/keys"));
    browser.fill("label", "Printers, 2nd floor");
    browser.press("main form.row button");
    browser.reach("/keys", "Copy the key now");
    browser.picture("key-made");
    let key = browser.eval("document.querySelector('#new-key').textContent");
    for label in ["printer", "scanner", "door-camera"] {
        let node = Node::new(label);
        let secret = if label == "printer" { ("enrolment_key", key.as_str()) } else { ("password", PASSWORD) };
        assert_eq!(world.client.login("alice", secret, &node).status, 201);
    }

    browser.go(&format!("{url}/nodes"));
    browser.picture("nodes");
    browser.press("form[action='/nodes/revoke'] input[value='printer.ntm.example'] ~ button");
    browser.reach("/nodes/revoke", "printer.ntm.example is revoked.");
    browser.picture("node-revoked");
    assert_eq!(world.client.get("/v1/revocations").json()["upto"], 1);

    browser.press("form[action='/sign-out'] button");
    browser.reach("/sign-in", "Sign in");
    browser.fill("account", "alice");
    browser.fill("password", "a wrong password");
    browser.press("main form button");
    browser.reach("/sign-in", "Wrong account or secret");
    browser.picture("wrong-password");
    browser.fill("password", PASSWORD);
    browser.press("main form button");
    browser.reach("/nodes", "printer.ntm.example");
    browser.dark();
    browser.picture("nodes-dark");
    browser.narrow();
    browser.picture("nodes-narrow-dark");
}

#[test]
fn an_administrator_looks_after_users_servers_and_the_log() {
    let world = World::new();
    super::servers::DirectionServer::add(&world, "dc1");
    world.client.member("alice");
    let mut browser = Browser::start();
    let url = world.server.url();
    browser.go(&url);
    browser.reach("/sign-in", "Sign in");
    browser.fill("account", "admin");
    browser.fill("password", super::harness::ADMIN_PASSWORD);
    browser.press("main form button");
    browser.reach("/nodes", "No nodes yet");
    browser.go(&format!("{url}/admin/accounts"));
    browser.press("input[value='alice'] ~ input[value='disable'] ~ button");
    browser.reach("/admin/accounts", "alice is changed.");
    browser.picture("admin-users");
    browser.go(&format!("{url}/admin/servers"));
    browser.press("details summary");
    browser.picture("admin-servers");
    browser.go(&format!("{url}/admin/audit"));
    browser.reach("/admin/audit", "account disabled");
    browser.picture("admin-audit");
    assert_eq!(world.client.try_sign_in("alice", PASSWORD).status, 401);
}

#[test]
fn another_sites_page_cannot_act_for_who_is_signed_in() {
    let world = World::new();
    let alice = world.client.member("alice");
    let mut browser = Browser::start();
    let url = world.server.url();
    browser.go(&format!("{url}/sign-in"));
    browser.fill("account", "alice");
    browser.fill("password", PASSWORD);
    browser.press("main form button");
    browser.reach("/nodes", "No nodes yet");
    let evil = evil_page(&format!(
        "<form method=post action='{url}/keys'><input name=uses value=9><input name=days value=9>\
         <input name=csrf value=guessed></form><script>document.forms[0].submit()</script>"
    ));
    browser.go(&evil);
    let landed = browser.wait("leaving the other site's page", |browser| {
        let at = browser.eval("location.href");
        at.starts_with("https://127.0.0.1").then_some(at)
    });
    browser.picture("csrf-attempt");
    assert!(!browser.eval("document.body.innerText").contains("Copy the key"), "{landed}");
    assert_eq!(alice.get("/v1/enrolment-keys").json()["keys"], json!([]));
    // The person's own page still works: the attempt ended nothing.
    browser.go(&format!("{url}/keys"));
    browser.reach("/keys", "No keys.");
    // Nor does the page let itself be framed.
    let frame = evil_page(&format!("<iframe src='{url}/nodes'></iframe>"));
    browser.go(&frame);
    assert_eq!(
        browser.eval("frames.length + ':' + (() => { try { return frames[0].document } catch { return 'none' } })()"),
        "1:none"
    );
}

/// Serves one page to everyone, under a name of another site.
fn evil_page(body: &str) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = listener.local_addr().expect("an address").port();
    let body = body.to_owned();
    std::thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            let mut head = [0; 4096];
            let _ = stream.read(&mut head);
            let answer = format!(
                "HTTP/1.1 200 OK\r\ncontent-type: text/html\r\nconnection: close\r\ncontent-length: {}\r\n\r\n{body}",
                body.len()
            );
            let _ = stream.write_all(answer.as_bytes());
        }
    });
    format!("http://localhost:{port}/")
}

/// A browser with a profile of its own, killed when dropped.
struct Browser {
    child: Child,
    commands: File,
    answers: Receiver<Value>,
    session: String,
    number: u64,
    _profile: Folder,
}

impl Browser {
    fn start() -> Self {
        let profile = Folder::new();
        let (commands, answers) = (profile.path().join("commands"), profile.path().join("answers"));
        let made = Command::new("mkfifo").args([&commands, &answers]).status().expect("mkfifo runs");
        assert!(made.success());
        // The browser takes its protocol at descriptors 3 and 4; a shell puts the pipes there.
        let mut child = Command::new("sh")
            .args(["-c", "exec chromium \"$@\" 3<\"$COMMANDS\" 4>\"$ANSWERS\"", "sh"])
            .args(["--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"])
            .args(["--disable-background-networking", "--disable-component-update", "--disable-sync"])
            .args(["--disable-dev-shm-usage", "--ignore-certificate-errors", "--remote-debugging-pipe"])
            .args(["--window-size=1180,760", "--hide-scrollbars"])
            .arg(format!("--user-data-dir={}", profile.path().join("profile").display()))
            .env("COMMANDS", &commands)
            .env("ANSWERS", &answers)
            .env("HOME", profile.path())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("chromium: packaging/install-tools test installs it");
        let opened = File::options().write(true).open(&commands).and_then(|write| Ok((write, File::open(&answers)?)));
        let (commands, reading) = opened.expect("the pipes open");
        let (send, answers) = channel();
        std::thread::spawn(move || {
            for message in BufReader::new(reading).split(0).map_while(Result::ok) {
                let Ok(value) = serde_json::from_slice(&message) else { return };
                if send.send(value).is_err() {
                    return;
                }
            }
        });
        assert!(child.try_wait().expect("waits").is_none(), "chromium ended at once");
        let mut browser = Self { child, commands, answers, session: String::new(), number: 0, _profile: profile };
        let target = browser.call("Target.createTarget", &json!({ "url": "about:blank" }))["targetId"].clone();
        let attached = browser.call("Target.attachToTarget", &json!({ "targetId": target, "flatten": true }));
        browser.session = attached["sessionId"].as_str().expect("a session").to_owned();
        browser.call("Page.enable", &json!({}));
        browser
    }

    fn call(&mut self, method: &str, parameters: &Value) -> Value {
        self.try_call(method, parameters).unwrap_or_else(|why| panic!("{method}: {why}"))
    }

    fn try_call(&mut self, method: &str, parameters: &Value) -> Result<Value, String> {
        self.number += 1;
        let mut message = json!({ "id": self.number, "method": method, "params": parameters });
        if !self.session.is_empty() {
            message["sessionId"] = json!(self.session);
        }
        self.commands.write_all(format!("{message}\0").as_bytes()).expect("the browser listens");
        let until = Instant::now() + PATIENCE;
        loop {
            match self.answers.recv_timeout(until.saturating_duration_since(Instant::now())) {
                Ok(answer) if answer["id"] == self.number => {
                    return match answer["error"]["message"].as_str() {
                        Some(why) => Err(why.to_owned()),
                        None => Ok(answer["result"].clone()),
                    };
                }
                Ok(_) => {}
                Err(RecvTimeoutError::Timeout) => panic!("{method}: no answer"),
                Err(RecvTimeoutError::Disconnected) => panic!("{method}: the browser has gone"),
            }
        }
    }

    /// What a script in the page gives, as text. An empty text while the page changes.
    fn eval(&mut self, script: &str) -> String {
        let asked = json!({ "expression": format!("String({script})"), "returnByValue": true });
        let answer = self.try_call("Runtime.evaluate", &asked).unwrap_or_default();
        answer["result"]["value"].as_str().unwrap_or_default().to_owned()
    }

    fn wait<T>(&mut self, what: &str, mut answer: impl FnMut(&mut Self) -> Option<T>) -> T {
        let until = Instant::now() + PATIENCE;
        loop {
            if let Some(found) = answer(self) {
                return found;
            }
            let seen = self.eval("location.href + ' ' + document.body.innerText");
            assert!(Instant::now() < until, "{what}: waited too long; the page is {seen}");
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    fn go(&mut self, url: &str) {
        let gone = self.call("Page.navigate", &json!({ "url": url }));
        assert!(gone["errorText"].is_null(), "{url}: {gone}");
        self.settled();
    }

    fn settled(&mut self) {
        self.wait("the page to load", |browser| (browser.eval("document.readyState") == "complete").then_some(()));
    }

    /// Waits for a page at `path` that says `text`.
    fn reach(&mut self, path: &str, text: &str) {
        let script = "document.readyState + location.pathname + ' ' + document.body.innerText";
        self.wait(&format!("{path} to say {text}"), |browser| {
            let seen = browser.eval(script);
            (seen.starts_with(&format!("complete{path} ")) && seen.contains(text)).then_some(())
        });
    }

    /// Types into the field of that name, as a keyboard would.
    fn fill(&mut self, field: &str, text: &str) {
        let found = self.eval(&format!(
            "(() => {{ const f = document.querySelector('main input[name={field}]'); f.focus(); f.select(); return f.name }})()"
        ));
        assert_eq!(found, field);
        self.call("Input.insertText", &json!({ "text": text }));
    }

    fn press(&mut self, selector: &str) {
        let pressed =
            self.eval(&format!("(() => {{ document.querySelector(\"{selector}\").click(); return 'pressed' }})()"));
        assert_eq!(pressed, "pressed", "{selector}");
    }

    fn dark(&mut self) {
        let dark = json!({ "features": [{ "name": "prefers-color-scheme", "value": "dark" }] });
        self.call("Emulation.setEmulatedMedia", &dark);
    }

    fn narrow(&mut self) {
        let phone = json!({ "width": 420, "height": 860, "deviceScaleFactor": 1, "mobile": false });
        self.call("Emulation.setDeviceMetricsOverride", &phone);
    }

    fn picture(&mut self, name: &str) {
        let picture = self.call("Page.captureScreenshot", &json!({ "format": "png" }));
        let data = picture["data"].as_str().expect("a picture");
        let bytes = base64::engine::general_purpose::STANDARD.decode(data).expect("base64");
        let target = PathBuf::from(env!("CARGO_TARGET_TMPDIR"));
        let folder = target.parent().expect("the target folder").join("screenshots");
        std::fs::create_dir_all(&folder).expect("a folder");
        std::fs::write(folder.join(format!("{name}.png")), bytes).expect("written");
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        // Asked to end, it ends its own children; killed, it leaves them.
        self.session.clear();
        let message = json!({ "id": self.number + 1, "method": "Browser.close" });
        let _ = self.commands.write_all(format!("{message}\0").as_bytes());
        let until = Instant::now() + Duration::from_secs(10);
        while Instant::now() < until {
            if matches!(self.child.try_wait(), Ok(Some(_))) {
                return;
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
