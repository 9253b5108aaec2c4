//! Amazon Resource Names: `arn:partition:service:region:account:resource`
//! (AWS Identity and Access Management User Guide, "Identify AWS resources with Amazon Resource Names (ARNs)").

use crate::Malformed;
use crate::json::{At, is_region, shown};

/// The longest ARN that is read, in bytes (the limit of CloudWatch and Inspector is 1,600 and 2,048).
const LONGEST: usize = 2048;

/// The parts of an ARN of one service.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Arn<'a> {
    pub(crate) region: &'a str,
    pub(crate) account: &'a str,
    /// Everything after the account, colons included.
    pub(crate) resource: &'a str,
}

/// Reads an ARN of this service.
pub(crate) fn read<'a>(at: &At<'a>, service: &str) -> Result<Arn<'a>, Malformed> {
    let text = at.text(LONGEST)?;
    split(text, service).ok_or_else(|| at.wrong(format!("{} is not an ARN of {service}", shown(text))))
}

fn split<'a>(text: &'a str, service: &str) -> Option<Arn<'a>> {
    let mut parts = text.splitn(6, ':');
    let (arn, partition, named) = (parts.next()?, parts.next()?, parts.next()?);
    let (region, account, resource) = (parts.next()?, parts.next()?, parts.next()?);
    let digits = account.len() == 12 && account.bytes().all(|c| c.is_ascii_digit());
    let known = arn == "arn" && partition.starts_with("aws") && named == service;
    (known && is_region(region) && digits && !resource.is_empty()).then_some(Arn { region, account, resource })
}

impl Arn<'_> {
    /// An error unless the ARN is of this account and region.
    pub(crate) fn must_be_of(&self, at: &At<'_>, account: &str, region: &str) -> Result<(), Malformed> {
        if self.account != account {
            let why = format!("is of account {}, but the event comes from {account}", self.account);
            return Err(at.wrong(why));
        }
        if self.region != region {
            return Err(at.wrong(format!("is of region {}, but the event comes from {region}", self.region)));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_arn_is_taken_apart_and_a_likeness_is_not() {
        let arn = split("arn:aws-cn:ecr:cn-north-1:444444444444:repository/volteryde/nestjs-service", "ecr").unwrap();
        let parts = (arn.region, arn.account, arn.resource);
        assert_eq!(parts, ("cn-north-1", "444444444444", "repository/volteryde/nestjs-service"));
        let alarm = split("arn:aws:cloudwatch:us-east-1:333333333333:alarm:a:b", "cloudwatch").unwrap();
        assert_eq!(alarm.resource, "alarm:a:b");
        for bad in [
            "arn:aws:ecr:us-east-1:444444444444",
            "arn:aws:ecr:us-east-1:444444444444:",
            "arn:aws:ecr:us-east-1.evil:444444444444:repository/x",
            "arn:aws:ecr:us-east-1:4444:repository/x",
            "arn:aws:s3:us-east-1:444444444444:repository/x",
            "arn:evil:ecr:us-east-1:444444444444:repository/x",
        ] {
            assert_eq!(split(bad, "ecr"), None, "{bad}");
        }
    }
}
