//! `ntm-as init`: a new domain in one command. Nothing that exists is overwritten.

use std::fs::DirBuilder;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::Path;
use std::time::Duration;

use ntm_server::clock::unix_now;
use ntm_server::config::Source;
use ntm_server::{Failure, ResultExt as _, files};
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, IsCa, KeyPair,
    KeyUsagePurpose, PKCS_ECDSA_P256_SHA256,
};

use crate::authority::{Authority, Caller, Rules, store_failure};
use crate::commands::{Init, line, password_for, show_password};
use crate::config::{Config, host_of};
use crate::secrets::Secrets;
use crate::store;

/// How long the self-made certificates hold. They are for tests and homes, where nobody would renew them.
const CERTIFICATE_LIFE: Duration = Duration::from_secs(10 * 365 * 24 * 3600);
const DAY: Duration = Duration::from_secs(24 * 3600);

/// Makes the domain. `path` is where the configuration goes.
pub(crate) fn init(init: &Init, path: &Path) -> Result<(), Failure> {
    if path.exists() {
        return Err(Failure::new(format!("{} exists already", path.display()))
            .way_out("move it away, or name another with --config"));
    }
    let url = init.url.clone().unwrap_or_else(|| format!("https://as.{}", init.domain));
    let host = host_of(&url).ok_or_else(|| Failure::usage(format!("--url {url}: not https://HOST[:PORT]")))?;
    let text = configuration(init, &url);
    let (config, source) = Source::parse::<Config>(path.display().to_string(), text.clone())?;
    config.check(&source)?;
    let (password, shown) = password_for(config.passwords.cost(), &init.admin, init.admin_password_file.as_deref())?;

    DirBuilder::new().recursive(true).mode(0o700).create(&init.data).context(init.data.display())?;
    let secrets = Secrets::create(&init.data, unix_now())?;
    if init.tls_certificate.is_none() {
        make_certificate(init, host)?;
    }
    let store = store::open(&config.store_place()).map_err(|why| store_failure(&why))?;
    let authority = Authority::new(init.domain.clone(), store, secrets, Rules::from(&config))?;
    authority
        .add_account(&Caller::operator(), &init.admin, &password, true)
        .map_err(|why| Failure::new(format!("the administrator {}: {why}", init.admin)))?;
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder).context(folder.display())?;
    }
    files::create_secret(path, text.as_bytes())?;

    line(&format!("domain:   {}", init.domain))?;
    line(&format!("key:      {}", authority.domain_key()))?;
    line(&format!("config:   {}", path.display()))?;
    if init.tls_certificate.is_none() {
        line(&format!("TLS CA:   {}", init.data.join("tls-ca.crt").display()))?;
    }
    line(&format!("admin:    {}", init.admin))?;
    show_password(shown)
}

fn configuration(init: &Init, url: &str) -> String {
    let quoted = |text: &str| toml::Value::String(text.to_owned()).to_string();
    let shown = |path: &Path| quoted(&path.display().to_string());
    let listen: Vec<_> = init.listen.iter().map(|address| quoted(&address.to_string())).collect();
    let certificate = init.tls_certificate.as_deref().unwrap_or(Path::new("tls.crt"));
    let key = init.tls_key.as_deref().unwrap_or(Path::new("tls.key"));
    let data = std::path::absolute(&init.data).unwrap_or_else(|_| init.data.clone());
    let store = init.store.as_ref().map(|store| format!("store = {}\n", quoted(store))).unwrap_or_default();
    format!(
        "# `ntm-as config` prints an example with all settings explained.\n\
         domain = {}\nurl = {}\nlisten = [{}]\ndata = {}\n{store}metrics = {}\n\n[tls]\ncertificate = {}\nkey = {}\n",
        quoted(init.domain.as_str()),
        quoted(url),
        listen.join(", "),
        shown(&data),
        quoted(&init.metrics),
        shown(certificate),
        shown(key),
    )
}

/// An authority of its own, and a certificate of it for the server's names.
fn make_certificate(init: &Init, host: &str) -> Result<(), Failure> {
    let doing = "cannot make a certificate";
    let authority_key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).context(doing)?;
    let mut parameters = CertificateParams::new(Vec::<String>::new()).context(doing)?;
    parameters.distinguished_name.push(DnType::CommonName, format!("{} certificates", init.domain));
    parameters.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    parameters.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    limit(&mut parameters);
    let authority = CertifiedIssuer::self_signed(parameters, &authority_key).context(doing)?;

    let mut names = vec![without_port(host).to_owned(), init.domain.to_string()];
    names.extend(init.host.iter().cloned());
    names.sort();
    names.dedup();
    let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).context(doing)?;
    let mut parameters = CertificateParams::new(names).context(doing)?;
    parameters.distinguished_name.push(DnType::CommonName, without_port(host));
    parameters.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    parameters.use_authority_key_identifier_extension = true;
    limit(&mut parameters);
    let certificate = parameters.signed_by(&key, &authority).context(doing)?;

    let at = |name: &str| init.data.join(name);
    files::create_secret(&at("tls-ca.key"), authority_key.serialize_pem().as_bytes())?;
    files::create_secret(&at("tls.key"), key.serialize_pem().as_bytes())?;
    std::fs::write(at("tls-ca.crt"), authority.pem()).context(at("tls-ca.crt").display())?;
    std::fs::write(at("tls.crt"), certificate.pem()).context(at("tls.crt").display())
}

fn limit(parameters: &mut CertificateParams) {
    let now = rcgen::date_time_ymd(1970, 1, 1) + Duration::from_millis(unix_now().as_millis());
    // A day before: the clocks of those who check may stand behind.
    parameters.not_before = now - DAY;
    parameters.not_after = now + CERTIFICATE_LIFE;
}

/// The host of `HOST:PORT` or `[V6]:PORT`.
fn without_port(host: &str) -> &str {
    match host.strip_prefix('[') {
        Some(rest) => rest.split(']').next().unwrap_or(rest),
        None => host.split(':').next().unwrap_or(host),
    }
}
