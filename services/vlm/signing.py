"""Requests to Amazon SageMaker, signed by AWS Signature Version 4, with botocore's credentials.

    signer = Signer(region="")             # from AWS_REGION and AWS's other settings
    headers = signer.sign("POST", signer.url + "/endpoints/qwen-vl/invocations", data, {"Content-Type": "…"})

Credentials are found as in all programs of AWS: variables, files, a role by a web identity (EKS), a container's or a
machine's role. Temporary ones are renewed in time. Everything here may wait for the network: call it in a thread.
botocore belongs to the extra `sagemaker`, so its import is local.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping
from typing import Any

from services.vlm.failures import REASON, Refused
from shared.runtime.errors import Away, SettingError
from shared.runtime.redact import redact

SERVICE = "sagemaker-runtime"


class Signer:
    """See the module. region: of AWS, empty for that of its settings. Raises SettingError.

    url: of the service, without a path: AWS_ENDPOINT_URL_SAGEMAKER_RUNTIME, if set.
    """

    def __init__(self, region: str) -> None:
        from botocore.session import Session

        # At level DEBUG it logs the signed request, with the session's token.
        logging.getLogger("botocore").setLevel(logging.INFO)
        # botocore itself reads only AWS_DEFAULT_REGION; AWS's other programs read this one first.
        self._session: Any = Session()
        self.region, self.url, self._name = self._resolved(region or os.environ.get("AWS_REGION", ""))

    def _resolved(self, region: str) -> tuple[str, str, str]:
        """Return (region, URL, the service's name in signatures), as botocore resolves them for the region."""
        from botocore import UNSIGNED
        from botocore.config import Config
        from botocore.exceptions import BotoCoreError

        try:
            # Without credentials: they are resolved for each request, when they may exist.
            client = self._session.create_client(
                SERVICE, region_name=region or None, config=Config(signature_version=UNSIGNED)
            )
        except (BotoCoreError, ValueError) as e:
            raise SettingError(
                f"VLM_URL names an endpoint of SageMaker, but AWS's settings can't be used: {_error_text(e)}: "
                "correct AWS_PROFILE, or say the region, as by AWS_REGION=eu-west-1"
            ) from e
        name = client.meta.service_model.signing_name
        return str(client.meta.region_name), str(client.meta.endpoint_url).rstrip("/"), str(name)

    def sign(self, method: str, url: str, data: bytes, headers: Mapping[str, str]) -> dict[str, str]:
        """Return `headers` and those of the signature. Raises Away, and Refused without credentials."""
        from botocore.auth import SigV4Auth
        from botocore.awsrequest import AWSRequest

        request = AWSRequest(method=method, url=url, data=data, headers=dict(headers))
        SigV4Auth(self._credentials(), self._name, self.region).add_auth(request)
        return dict(request.headers.items())

    def _credentials(self) -> Any:
        """Return the current credentials: the chain renews expiring ones."""
        from botocore.exceptions import BotoCoreError, ClientError, ConnectionError, HTTPClientError

        try:
            found = self._session.get_credentials()
            frozen = found.get_frozen_credentials() if found else None
        except (ConnectionError, HTTPClientError) as e:
            raise Away(f"AWS gives no credentials just now: {_error_text(e)}") from e
        except (BotoCoreError, ClientError) as e:
            raise Refused(
                f"AWS gives no credentials: {_error_text(e)}: correct AWS_ROLE_ARN, or what else names them"
            ) from e
        if frozen is None:
            raise Refused(
                "no AWS credentials are found: set AWS_ROLE_ARN and AWS_WEB_IDENTITY_TOKEN_FILE (EKS does that for a "
                "service account with a role), AWS_PROFILE, or AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"
            )
        return frozen


def _error_text(error: Exception) -> str:
    return redact(" ".join(str(error).split()))[:REASON]
