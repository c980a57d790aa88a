"""What the account endpoints take and give."""

from datetime import datetime
from typing import Any

from django.utils import timezone
from rest_framework import serializers

from backend.accounts import services
from backend.accounts.mailboxes import normalise
from backend.accounts.models import USERNAME_RULES, ApiKey, Scope, User
from backend.accounts.selectors import is_taken
from backend.api.given import Body

PASSWORD: dict[str, Any] = {
    "min_length": 8,
    "max_length": 1024,
    "write_only": True,
    "trim_whitespace": False,
    "style": {"input_type": "password"},
}


class UserSerializer(serializers.ModelSerializer[User]):
    class Meta:
        model = User
        fields = ["id", "username", "email", "is_verified"]
        read_only_fields = fields


class ProfileSerializer(UserSerializer):
    created_at = serializers.DateTimeField(source="date_joined", read_only=True)

    class Meta(UserSerializer.Meta):
        fields = [*UserSerializer.Meta.fields, "first_name", "last_name", "is_staff", "created_at", "last_login"]
        read_only_fields = fields


class UsernameField(serializers.CharField):
    def __init__(self, **kwargs: Any) -> None:
        super().__init__(max_length=150, validators=USERNAME_RULES, **kwargs)


class AddressField(serializers.EmailField):
    """In the one spelling that is kept."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(max_length=254, **kwargs)

    def to_internal_value(self, data: Any) -> str:
        try:
            return normalise(super().to_internal_value(data))
        except ValueError:
            self.fail("invalid")


class SignupSerializer(Body):
    username = UsernameField()
    email = AddressField()
    password = serializers.CharField(**PASSWORD)

    def validate_username(self, value: str) -> str:
        if is_taken(value):
            raise serializers.ValidationError("This name is taken.")
        return value

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        user = User(username=attrs["username"], email=attrs["email"])
        services.require_good_password(attrs["password"], user, "password")
        return attrs


class ProfileChangeSerializer(Body):
    """The instance is the user."""

    username = UsernameField(required=False)
    email = AddressField(required=False, help_text="Is to be verified again.")
    first_name = serializers.CharField(max_length=150, required=False, allow_blank=True)
    last_name = serializers.CharField(max_length=150, required=False, allow_blank=True)
    password = serializers.CharField(
        max_length=1024,
        required=False,
        write_only=True,
        trim_whitespace=False,
        style={"input_type": "password"},
        help_text="The present one; needed for another address, because a new password is mailed there.",
    )

    def validate_username(self, value: str) -> str:
        if self.instance is not None and value.lower() != self.instance.username.lower() and is_taken(value):
            raise serializers.ValidationError("This name is taken.")
        return value

    def _one_line(self, value: str) -> str:
        if not value.isprintable():
            raise serializers.ValidationError("Use visible characters only, on one line.")
        return value

    validate_first_name = validate_last_name = _one_line


class LoginSerializer(Body):
    described = {"anyOf": [{"required": ["username"]}, {"required": ["email"]}]}

    username = serializers.CharField(max_length=254, required=False, help_text="The name, or the address.")
    email = serializers.CharField(max_length=254, required=False)
    password = serializers.CharField(
        max_length=1024, write_only=True, trim_whitespace=False, style={"input_type": "password"}
    )

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        if not (attrs.get("username") or attrs.get("email")):
            raise serializers.ValidationError({"username": ["Give a username or an email."]})
        return attrs


class PairSerializer(serializers.Serializer[None]):
    access = serializers.CharField(help_text="Bearer token of the other endpoints; lives 15 minutes.")
    refresh = serializers.CharField(help_text="For POST /token/refresh; lives 7 days and works once.")


class TokensSerializer(PairSerializer):
    user = UserSerializer()


class RefreshSerializer(Body):
    refresh = serializers.CharField(max_length=4096, help_text="Works once; a second time it ends its login.")


class LogoutSerializer(Body):
    refresh = serializers.CharField(
        max_length=4096, required=False, help_text="Without it, the login of the access token ends."
    )
    everywhere = serializers.BooleanField(default=False, help_text="End all logins of this user.")


class AddressSerializer(Body):
    email = AddressField()


class LinkSerializer(Body):
    token = serializers.CharField(max_length=1024, help_text="From the link in the mail.")


class ResetSerializer(LinkSerializer):
    new_password = serializers.CharField(**PASSWORD)


class PasswordChangeSerializer(Body):
    old_password = serializers.CharField(
        max_length=1024, write_only=True, trim_whitespace=False, style={"input_type": "password"}
    )
    new_password = serializers.CharField(**PASSWORD)


class NoticeSerializer(serializers.Serializer[None]):
    message = serializers.CharField()


class ApiKeySerializer(serializers.ModelSerializer[ApiKey]):
    class Meta:
        model = ApiKey
        fields = ["id", "name", "prefix", "scopes", "created_at", "expires_at", "last_used_at"]
        read_only_fields = fields

    scopes = serializers.ListField(child=serializers.ChoiceField(choices=Scope.values))


class MadeApiKeySerializer(ApiKeySerializer):
    key = serializers.CharField(help_text="The key itself. It is shown now and never again.")

    class Meta(ApiKeySerializer.Meta):
        fields = [*ApiKeySerializer.Meta.fields, "key"]
        read_only_fields = fields


class ApiKeyRequestSerializer(Body):
    name = serializers.CharField(max_length=100, help_text="What it is for; you see it in the list.")
    scopes = serializers.ListField(
        child=serializers.ChoiceField(choices=Scope.values),
        allow_empty=False,
        max_length=10,
        default=[Scope.CHAT.value, Scope.READ.value],
        help_text="chat: ask, conversations, /v1. read: search, sources, stats. write: what staff may do with sources.",
    )
    expires_at = serializers.DateTimeField(required=False, allow_null=True, default=None)

    def validate_name(self, value: str) -> str:
        if not value.isprintable():
            raise serializers.ValidationError("Use visible characters only, on one line.")
        return value

    def validate_scopes(self, value: list[str]) -> list[Scope]:
        return [Scope(name) for name in value]

    def validate_expires_at(self, value: datetime | None) -> datetime | None:
        if value is not None and value <= timezone.now():
            raise serializers.ValidationError("This moment is past.")
        return value
