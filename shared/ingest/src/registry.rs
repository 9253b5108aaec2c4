//! An image repository's full name, with its registry's host, from how an event names it.

use portcullis_domain::names::Repository;

use crate::json::{At, shown};
use crate::{Malformed, arn};

/// Longest repository name of ECR's, in bytes (Amazon ECR API Reference, `CreateRepository`), or a whole ARN.
const LONGEST: usize = 512;

/// `444444444444.dkr.ecr.us-east-1.amazonaws.com/volteryde/nestjs-service` from `volteryde/nestjs-service`, or from
/// the ARN that Inspector puts in the same field. An ARN of another account or region is refused.
pub(crate) fn repository(at: &At<'_>, account: &str, region: &str) -> Result<Repository, Malformed> {
    let text = at.text(LONGEST)?;
    if !text.starts_with("arn:") {
        return named(at, text, account, region);
    }
    let arn = arn::read(at, "ecr")?;
    arn.must_be_of(at, account, region)?;
    let name = arn.resource.strip_prefix("repository/");
    named(at, name.ok_or_else(|| at.wrong(format!("{} is not the ARN of a repository", shown(text))))?, account, region)
}

fn named(at: &At<'_>, name: &str, account: &str, region: &str) -> Result<Repository, Malformed> {
    let ok = |c: u8| c.is_ascii_lowercase() || c.is_ascii_digit() || b"-._".contains(&c);
    let part = |part: &str| !part.is_empty() && part != "." && part != ".." && part.bytes().all(ok);
    if !name.split('/').all(part) {
        let why = format!("{} is not a repository name: a-z, 0-9 and . _ - in parts joined by /", shown(name));
        return Err(at.wrong(why));
    }
    let host = format!("{account}.dkr.ecr.{region}.{}", suffix(region));
    Repository::new(&format!("{host}/{name}")).map_err(|why| at.wrong(why.to_string()))
}

/// The domain of a region's partition: China has its own (Amazon Web Services in China, "Endpoints and ARNs").
fn suffix(region: &str) -> &'static str {
    if region.starts_with("cn-") { "amazonaws.com.cn" } else { "amazonaws.com" }
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;

    fn full(text: &str, region: &str) -> Result<String, String> {
        let value = Value::String(text.to_owned());
        let at = At::root(&value, "detail.repository-name");
        repository(&at, "444444444444", region).map(|r| r.to_string()).map_err(|e| e.to_string())
    }

    #[test]
    fn a_name_and_its_arn_are_the_same_repository() {
        let host = "444444444444.dkr.ecr.us-east-1.amazonaws.com/volteryde/nestjs-service";
        assert_eq!(full("volteryde/nestjs-service", "us-east-1").as_deref(), Ok(host));
        let arn = "arn:aws:ecr:us-east-1:444444444444:repository/volteryde/nestjs-service";
        assert_eq!(full(arn, "us-east-1").as_deref(), Ok(host));
    }

    #[test]
    fn china_has_its_own_hosts() {
        let arn = "arn:aws-cn:ecr:cn-north-1:444444444444:repository/app";
        let host = "444444444444.dkr.ecr.cn-north-1.amazonaws.com.cn/app";
        assert_eq!(full(arn, "cn-north-1").as_deref(), Ok(host));
    }

    #[test]
    fn an_arn_of_another_account_or_region_is_refused() {
        let account = full("arn:aws:ecr:us-east-1:999999999999:repository/app", "us-east-1").unwrap_err();
        let both = "detail.repository-name: is of account 999999999999, but the event comes from 444444444444";
        assert_eq!(account, both);
        assert!(full("arn:aws:ecr:eu-west-1:444444444444:repository/app", "us-east-1").is_err());
        assert!(full("arn:aws:ecr:us-east-1:444444444444:registry/app", "us-east-1").is_err());
    }

    #[test]
    fn a_name_that_could_leave_its_registry_is_refused() {
        for bad in ["../x", "a//b", "/a", "a/", "a:b", "a@b", "A", "a b", "a/./b"] {
            assert!(full(bad, "us-east-1").is_err(), "{bad}");
        }
    }
}
