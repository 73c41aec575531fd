"""Every dialect by the name that accounts.toml uses. The one list: a new dialect is its own file and its name here."""

from collections.abc import Mapping

from providers.alipay import Alipay
from providers.dialect import Dialect
from providers.standard_webhooks import StandardWebhooks
from providers.stripe import Stripe
from providers.wechat_v3 import WechatV3

DIALECTS: Mapping[str, type[Dialect]] = {
    dialect.provider: dialect for dialect in (Alipay, WechatV3, Stripe, StandardWebhooks)
}
