//! Which registry, region and repository an image repository's full name means.

use portcullis_domain::digest::Digest;
use portcullis_domain::names::Repository;
use portcullis_domain::policy::Place;
use portcullis_engine::ports::{PortError, PortResult};

/// A repository as ECR is asked for it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Address {
    /// The registry: an account's 12 digits; none = the account of the credentials.
    pub(crate) registry: Option<String>,
    /// The region; none = the one of the configuration.
    pub(crate) region: Option<String>,
    /// The name within the registry.
    pub(crate) name: String,
}

impl Address {
    /// The account and region are those of the host in the name, because that host is what the cluster pulls from: a
    /// fact about a namesake in another registry would say nothing. A name without a host is of the place's registry.
    pub(crate) fn of(place: &Place, repository: &Repository) -> PortResult<Self> {
        let text = repository.as_str();
        let (host, name) = match text.split_once('/') {
            Some((first, name)) if first.contains(['.', ':']) => (Some(first), name),
            _ => (None, text),
        };
        let Some(host) = host else {
            return Ok(Self { registry: place.account.clone(), region: place.region.clone(), name: name.to_owned() });
        };
        let (account, region) = registry(host).ok_or_else(|| {
            PortError::new(format!("finding the registry of {text}"), format!("{host} is no registry of ECR's"))
        })?;
        Ok(Self { registry: Some(account.to_owned()), region: Some(region.to_owned()), name: name.to_owned() })
    }

    /// The ARN of an image, as Amazon Inspector names it; none without an account and region.
    pub(crate) fn image_arn(&self, digest: &Digest) -> Option<String> {
        let (account, region) = (self.registry.as_ref()?, self.region.as_ref()?);
        let partition = match region {
            china if china.starts_with("cn-") => "aws-cn",
            government if government.starts_with("us-gov-") => "aws-us-gov",
            _ => "aws",
        };
        Some(format!("arn:{partition}:ecr:{region}:{account}:repository/{}/{digest}", self.name))
    }
}

/// Account and region of a registry's host (Amazon ECR User Guide, "Amazon ECR private registry"; AWS General
/// Reference, "Amazon ECR endpoints and quotas": also FIPS and dual-stack names).
fn registry(host: &str) -> Option<(&str, &str)> {
    let parts: Vec<&str> = host.split('.').collect();
    let ([account, "dkr", "ecr" | "ecr-fips", region, "amazonaws", "com"]
    | [account, "dkr", "ecr", region, "amazonaws", "com", "cn"]
    | [account, "dkr-ecr" | "dkr-ecr-fips", region, "on", "aws"]) = parts[..]
    else {
        return None;
    };
    let is_account = account.len() == 12 && account.bytes().all(|c| c.is_ascii_digit());
    (is_account && !region.is_empty()).then_some((account, region))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> PortResult<Address> {
        let place = Place {
            account: Some("222222222222".to_owned()),
            region: Some("eu-west-1".to_owned()),
            role: None,
            cluster: "main".to_owned(),
            namespace: "shop".to_owned(),
        };
        Address::of(&place, &Repository::new(text).unwrap())
    }

    fn address(registry: &str, region: &str, name: &str) -> Address {
        Address { registry: Some(registry.to_owned()), region: Some(region.to_owned()), name: name.to_owned() }
    }

    #[test]
    fn the_host_of_an_image_says_where_it_is_asked_for() {
        for (host, region) in [
            ("444444444444.dkr.ecr.us-east-1.amazonaws.com", "us-east-1"),
            ("444444444444.dkr.ecr-fips.us-gov-west-1.amazonaws.com", "us-gov-west-1"),
            ("444444444444.dkr.ecr.cn-north-1.amazonaws.com.cn", "cn-north-1"),
            ("444444444444.dkr-ecr.us-east-1.on.aws", "us-east-1"),
        ] {
            assert_eq!(at(&format!("{host}/shop/web")).unwrap(), address("444444444444", region, "shop/web"), "{host}");
        }
    }

    #[test]
    fn a_name_without_a_host_is_of_the_places_registry() {
        assert_eq!(at("shop/web").unwrap(), address("222222222222", "eu-west-1", "shop/web"));
        assert_eq!(at("web").unwrap(), address("222222222222", "eu-west-1", "web"));
    }

    #[test]
    fn another_registry_than_ecr_is_refused_by_name() {
        for text in ["ghcr.io/shop/web", "localhost:5000/web", "44.dkr.ecr.us-east-1.amazonaws.com/web"] {
            assert!(at(text).unwrap_err().found.ends_with("is no registry of ECR's"), "{text}");
        }
    }

    #[test]
    fn an_images_arn_has_the_partition_of_its_region() {
        let digest = Digest::of(b"image");
        for (region, partition) in [("us-east-1", "aws"), ("cn-north-1", "aws-cn"), ("us-gov-west-1", "aws-us-gov")] {
            let arn = address("444444444444", region, "shop/web").image_arn(&digest);
            let expected = format!("arn:{partition}:ecr:{region}:444444444444:repository/shop/web/{digest}");
            assert_eq!(arn.as_deref(), Some(expected.as_str()));
        }
    }
}
