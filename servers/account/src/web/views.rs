//! The page's HTML. Whatever comes from outside goes through [`escape`]; there is no script at all.

use std::fmt::Write as _;

use ntm_proto::identity::Role;

use crate::authority::Caller;
use crate::records::{Account, AuditEntry, EnrolmentKey, Millis, Node, Server};

/// Where in the page one is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    Nodes,
    Keys,
    Account,
    Accounts,
    Servers,
    Audit,
    Outside,
}

/// What is said at the top of a page.
#[derive(Clone, Debug)]
pub(super) enum Notice {
    Good(String),
    Bad(String),
    /// A new enrolment key, shown this once.
    NewKey(String),
}

/// What every page under a session needs.
#[derive(Debug)]
pub(super) struct Frame<'a> {
    pub(super) domain: &'a str,
    pub(super) caller: Option<&'a Caller>,
    pub(super) csrf: &'a str,
    pub(super) place: Place,
    pub(super) notice: Option<&'a Notice>,
}

/// Text as HTML shows it, also inside a quoted attribute.
pub(super) fn escape(text: &str) -> String {
    text.chars().fold(String::with_capacity(text.len()), |mut safe, character| {
        match character {
            '&' => safe.push_str("&amp;"),
            '<' => safe.push_str("&lt;"),
            '>' => safe.push_str("&gt;"),
            '"' => safe.push_str("&quot;"),
            '\'' => safe.push_str("&#39;"),
            other => safe.push(other),
        }
        safe
    })
}

impl Frame<'_> {
    /// A whole page around `body`.
    pub(super) fn page(&self, title: &str, body: &str) -> String {
        let domain = escape(self.domain);
        format!(
            "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">\
             <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\
             <title>{title} · {domain}</title><link rel=\"stylesheet\" href=\"/style.css\">\
             <link rel=\"icon\" href=\"/icon.svg\" type=\"image/svg+xml\"></head><body>\
             <header><div class=\"bar\"><a class=\"brand\" href=\"/\"><img src=\"/icon.svg\" alt=\"\">{domain}</a>{}\
             </div></header><main>{}{body}</main><footer>NTM account server</footer></body></html>\n",
            self.navigation(),
            self.notice.map(notice).unwrap_or_default(),
            title = escape(title),
        )
    }

    fn navigation(&self) -> String {
        let Some(caller) = self.caller else { return String::new() };
        let mut entries = vec![
            (Place::Nodes, "/nodes", "Nodes"),
            (Place::Keys, "/keys", "Enrolment keys"),
            (Place::Account, "/account", "Account"),
        ];
        if caller.admin {
            entries.extend([
                (Place::Accounts, "/admin/accounts", "Users"),
                (Place::Servers, "/admin/servers", "Servers"),
                (Place::Audit, "/admin/audit", "Audit log"),
            ]);
        }
        let links = entries.into_iter().fold(String::new(), |mut links, (place, path, name)| {
            let current = if place == self.place { " aria-current=\"page\"" } else { "" };
            let _ = write!(links, "<a href=\"{path}\"{current}>{name}</a>");
            links
        });
        let sign_out = self.form("/sign-out", "inline", "<button class=\"plain\">Sign out</button>");
        let name = escape(&caller.account);
        format!("<nav>{links}</nav><div class=\"who\"><span>{name}</span>{sign_out}</div>")
    }

    /// A form that carries the session's word.
    fn form(&self, action: &str, class: &str, fields: &str) -> String {
        let csrf = escape(self.csrf);
        format!(
            "<form method=\"post\" action=\"{action}\" class=\"{class}\">\
             <input type=\"hidden\" name=\"csrf\" value=\"{csrf}\">{fields}</form>"
        )
    }

    pub(super) fn sign_in(&self, account: &str, sign_up_open: bool) -> String {
        let account = escape(account);
        let other = match sign_up_open {
            true => "<p class=\"soft\">No account yet? <a href=\"/sign-up\">Sign up</a></p>",
            false => "<p class=\"soft\">Accounts are made by the operator of this domain.</p>",
        };
        self.page(
            "Sign in",
            &format!(
                "<div class=\"narrow\"><h1>Sign in</h1><div class=\"card\"><form method=\"post\" action=\"/sign-in\">\
                 <label>Account<input name=\"account\" value=\"{account}\" required autofocus autocomplete=\"username\" \
                 autocapitalize=\"none\"></label><label>Password<input name=\"password\" type=\"password\" required \
                 autocomplete=\"current-password\"></label><button class=\"wide\">Sign in</button></form></div>{other}</div>"
            ),
        )
    }

    pub(super) fn sign_up(&self, account: &str) -> String {
        let account = escape(account);
        self.page(
            "Sign up",
            &format!(
                "<div class=\"narrow\"><h1>Make an account</h1><div class=\"card\"><form method=\"post\" \
                 action=\"/sign-up\"><label>Account<input name=\"account\" value=\"{account}\" required autofocus \
                 autocomplete=\"username\" autocapitalize=\"none\"><small>Letters, digits and . _ @ + -</small></label>\
                 <label>Password<input name=\"password\" type=\"password\" required minlength=\"10\" \
                 autocomplete=\"new-password\"><small>At least ten characters</small></label>\
                 <button class=\"wide\">Sign up</button></form></div>\
                 <p class=\"soft\">Have one already? <a href=\"/sign-in\">Sign in</a></p></div>"
            ),
        )
    }

    pub(super) fn nodes(&self, nodes: &[(String, Node)]) -> String {
        let head = "<h1>Nodes</h1><p class=\"lead\">Devices that are reachable under your names. Revoking one is for \
                    ever: it leaves the domain, and its key never comes back.</p>";
        if nodes.is_empty() {
            let empty = "<div class=\"card empty\"><p>No nodes yet.</p>Make an <a href=\"/keys\">enrolment key</a>, or \
                         log a node in with your password.</div>";
            return self.page("Nodes", &format!("{head}{empty}"));
        }
        let rows = nodes.iter().fold(String::new(), |mut rows, (name, node)| {
            let (name, id) = (escape(name), escape(&node.id));
            let (state, actions) = match node.revoked {
                Some(at) => (
                    format!("<span class=\"tag bad\">revoked</span> <span class=\"soft\">{}</span>", time(at)),
                    String::new(),
                ),
                None => ("<span class=\"tag good\">active</span>".to_owned(), self.node_actions(&name)),
            };
            let _ = write!(
                rows,
                "<tr><td><strong>{name}</strong><span class=\"id mono\" title=\"{id}\">{id}</span></td>\
                 <td>{state}</td><td class=\"time\" data-label=\"Last login\">{}</td><td class=\"actions\">{actions}</td></tr>",
                time(node.seen)
            );
            rows
        });
        let table = format!(
            "<div class=\"card flush\"><table><thead><tr><th>Name</th><th>State</th><th>Last login</th><th></th></tr>\
             </thead><tbody>{rows}</tbody></table></div>"
        );
        self.page("Nodes", &format!("{head}{table}"))
    }

    fn node_actions(&self, name: &str) -> String {
        let hidden = format!("<input type=\"hidden\" name=\"name\" value=\"{name}\">");
        let rename = self.form(
            "/nodes/rename",
            "sheet",
            &format!("{hidden}<label>New name<input name=\"to\" value=\"{name}\" required></label><button class=\"plain\">Rename</button>"),
        );
        let revoke = self.form(
            "/nodes/revoke",
            "sheet",
            &format!(
                "{hidden}<p>{name} leaves the domain for ever.</p><button class=\"danger\">Revoke for ever</button>"
            ),
        );
        format!(
            "<div class=\"side\"><details name=\"act\"><summary>Rename</summary>{rename}</details>\
             <details name=\"act\"><summary>Revoke</summary>{revoke}</details></div>"
        )
    }

    pub(super) fn keys(&self, keys: &[(String, EnrolmentKey)]) -> String {
        let make = self.form(
            "/keys",
            "row",
            "<label>What for<input name=\"label\" maxlength=\"64\" placeholder=\"Printers, 2nd floor\"></label>\
             <label>Nodes<input name=\"uses\" type=\"number\" min=\"1\" max=\"10000\" value=\"1\" required></label>\
             <label>Days<input name=\"days\" type=\"number\" min=\"1\" max=\"3650\" value=\"7\" required></label>\
             <button>Make a key</button>",
        );
        let rows = keys.iter().fold(String::new(), |mut rows, (id, key)| {
            let label = if key.label.is_empty() { "—".to_owned() } else { escape(&key.label) };
            let hidden = format!("<input type=\"hidden\" name=\"id\" value=\"{id}\"><button class=\"plain\">Remove</button>");
            let remove = self.form("/keys/remove", "inline", &hidden);
            let _ = write!(
                rows,
                "<tr><td>{label}<span class=\"id mono\">ntm-{id}-…</span></td><td>{} of {}</td><td class=\"time\">{}</td>\
                 <td class=\"actions\">{remove}</td></tr>",
                key.left,
                key.uses,
                time(key.expires)
            );
            rows
        });
        let list = match keys.is_empty() {
            true => "<div class=\"card empty\">No keys.</div>".to_owned(),
            false => format!(
                "<div class=\"card flush\"><table><thead><tr><th>Key</th><th>Nodes left</th><th>Until</th><th></th></tr>\
                 </thead><tbody>{rows}</tbody></table></div>"
            ),
        };
        let body = format!(
            "<h1>Enrolment keys</h1><p class=\"lead\">A key brings devices into your account without your password: \
             give it to the device's set-up, once.</p><div class=\"card\"><h2>New key</h2>{make}</div>{list}"
        );
        self.page("Enrolment keys", &body)
    }

    pub(super) fn account(&self) -> String {
        let form = self.form(
            "/account/password",
            "",
            "<label>Present password<input name=\"old\" type=\"password\" required autocomplete=\"current-password\">\
             </label><label>New password<input name=\"new\" type=\"password\" required minlength=\"10\" \
             autocomplete=\"new-password\"><small>At least ten characters</small></label><button>Change password</button>",
        );
        let body = format!(
            "<h1>Account</h1><p class=\"lead\">A new password signs you out everywhere. Your nodes stay.</p>\
             <div class=\"card narrow\">{form}</div>"
        );
        self.page("Account", &body)
    }

    pub(super) fn accounts(&self, accounts: &[(String, Account)], more: Option<&str>) -> String {
        let rows = accounts.iter().fold(String::new(), |mut rows, (name, account)| {
            let safe = escape(name);
            let state = if account.disabled {
                "<span class=\"tag bad\">disabled</span>"
            } else {
                "<span class=\"tag good\">active</span>"
            };
            let role = if account.admin { " <span class=\"tag\">administrator</span>" } else { "" };
            let own = self.caller.is_some_and(|caller| caller.account == *name);
            let button = |action: &str, word: &str| {
                let fields = format!(
                    "<input type=\"hidden\" name=\"name\" value=\"{safe}\"><input type=\"hidden\" name=\"action\" \
                     value=\"{action}\"><button class=\"plain\">{word}</button>"
                );
                self.form("/admin/accounts", "inline", &fields)
            };
            let actions = if own {
                "<span class=\"soft\">you</span>".to_owned()
            } else {
                let able = if account.disabled { button("enable", "Enable") } else { button("disable", "Disable") };
                let admin = if account.admin {
                    button("ordinary", "Make ordinary")
                } else {
                    button("admin", "Make administrator")
                };
                format!("<div class=\"side\">{able}{admin}</div>")
            };
            let _ = write!(
                rows,
                "<tr><td><strong>{safe}</strong></td><td>{state}{role}</td><td class=\"time\">{}</td>\
                 <td class=\"actions\">{actions}</td></tr>",
                time(account.created)
            );
            rows
        });
        let more = more.map(|after| format!("<p><a href=\"/admin/accounts?after={}\">More</a></p>", query(after)));
        let body = format!(
            "<h1>Users</h1><p class=\"lead\">A disabled account signs in no more, and its nodes get no new tickets.</p>\
             <div class=\"card flush\"><table><thead><tr><th>Account</th><th>State</th><th>Since</th><th></th></tr></thead>\
             <tbody>{rows}</tbody></table></div>{}",
            more.unwrap_or_default()
        );
        self.page("Users", &body)
    }

    pub(super) fn servers(&self, servers: &[(String, Server)]) -> String {
        let rows = servers.iter().fold(String::new(), |mut rows, (name, server)| {
            let name = escape(name);
            let role = match server.request.role {
                Role::Direction => "direction coordinator".to_owned(),
                Role::Relay => format!("relay {}", server.relay.as_ref().map_or(0, |relay| relay.id)),
            };
            let addresses: Vec<_> = server.request.addresses.iter().map(ToString::to_string).collect();
            let fields = format!(
                "<input type=\"hidden\" name=\"name\" value=\"{name}\"><p>Other servers and nodes are told no more of \
                 {name}.</p><button class=\"danger\">Remove</button>"
            );
            let remove = self.form("/admin/servers/remove", "sheet", &fields);
            let _ = write!(
                rows,
                "<tr><td><strong>{name}</strong><span class=\"id mono\">{}</span></td><td>{role}</td>\
                 <td class=\"time\">{}</td><td class=\"actions\"><details name=\"act\"><summary>Remove</summary>{remove}\
                 </details></td></tr>",
                addresses.join(" "),
                time(server.added)
            );
            rows
        });
        let list = match servers.is_empty() {
            true => "<div class=\"card empty\">No servers yet.</div>".to_owned(),
            false => format!(
                "<div class=\"card flush\"><table><thead><tr><th>Server</th><th>Role</th><th>Certified</th><th></th></tr>\
                 </thead><tbody>{rows}</tbody></table></div>"
            ),
        };
        let body = format!(
            "<h1>Servers</h1><p class=\"lead\">The domain's direction coordinators and relays. Add one on this host: \
             <code class=\"command\">ntm-as server add --request request.json --out credentials.bin</code></p>{list}"
        );
        self.page("Servers", &body)
    }

    pub(super) fn audit(&self, lines: &[(u64, AuditEntry)], more: Option<u64>) -> String {
        let rows = lines.iter().fold(String::new(), |mut rows, (_, entry)| {
            let _ = write!(
                rows,
                "<tr><td class=\"time\">{}</td><td>{}</td><td>{}</td><td>{}</td><td class=\"soft mono\">{}</td></tr>",
                time(entry.at),
                escape(&entry.who),
                escape(&entry.what),
                escape(&entry.about),
                escape(&entry.from)
            );
            rows
        });
        let more = more.map(|before| format!("<p><a href=\"/admin/audit?before={before}\">Older</a></p>"));
        let body = format!(
            "<h1>Audit log</h1><p class=\"lead\">Who did what, the newest first. Times are UTC.</p>\
             <div class=\"card flush\"><table><thead><tr><th>When</th><th>Who</th><th>What</th><th>About</th><th>From</th>\
             </tr></thead><tbody>{rows}</tbody></table></div>{}",
            more.unwrap_or_default()
        );
        self.page("Audit log", &body)
    }
}

fn notice(notice: &Notice) -> String {
    match notice {
        Notice::Good(text) => format!("<div class=\"notice\" role=\"status\">{}</div>", escape(text)),
        Notice::Bad(text) => format!("<div class=\"notice bad\" role=\"alert\">{}</div>", escape(text)),
        Notice::NewKey(key) => format!(
            "<div class=\"notice warn\" role=\"status\">Copy the key now: it is not shown again.\
             <code class=\"secret\" id=\"new-key\">{}</code></div>",
            escape(key)
        ),
    }
}

/// A value in a query, with everything but letters and digits encoded.
fn query(text: &str) -> String {
    text.bytes().fold(String::new(), |mut encoded, byte| {
        if byte.is_ascii_alphanumeric() {
            encoded.push(char::from(byte));
        } else {
            let _ = write!(encoded, "%{byte:02X}");
        }
        encoded
    })
}

/// A time as people read it: `2026-11-20 18:05`, in UTC.
pub(super) fn time(at: Millis) -> String {
    let (days, minutes) = (at / 86_400_000, at / 60_000 % 1_440);
    // Years are counted from March, so that the leap day is a year's last.
    let shifted = days + 719_468;
    let (era, day_of_era) = (shifted / 146_097, shifted % 146_097);
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let march_month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * march_month + 2) / 5 + 1;
    let month = if march_month < 10 { march_month + 3 } else { march_month - 9 };
    let year = era * 400 + year_of_era + u64::from(month <= 2);
    format!("{year:04}-{month:02}-{day:02} {:02}:{:02}", minutes / 60, minutes % 60)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_users_write_cannot_become_markup() {
        assert_eq!(escape("<script>\"'&"), "&lt;script&gt;&quot;&#39;&amp;");
        let key = EnrolmentKey {
            owner: "alice".into(),
            label: "<img src=x onerror=alert(1)>".into(),
            hash: String::new(),
            left: 1,
            uses: 1,
            created: 0,
            expires: 0,
        };
        let frame = Frame { domain: "ntm.example", caller: None, csrf: "", place: Place::Keys, notice: None };
        assert!(!frame.keys(&[("0".into(), key)]).contains("<img src=x"));
    }

    #[test]
    fn times_are_the_calendars() {
        assert_eq!(time(0), "1970-01-01 00:00");
        assert_eq!(time(951_782_400_000), "2000-02-29 00:00");
        assert_eq!(time(1_794_959_999_000), "2026-11-17 23:59");
        assert_eq!(time(4_102_444_800_000), "2100-01-01 00:00");
    }
}
