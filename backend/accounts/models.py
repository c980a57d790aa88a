"""The user: a name and an address, each unique whatever its case."""

from django.contrib.auth.models import AbstractUser
from django.contrib.auth.validators import ASCIIUsernameValidator
from django.core.validators import RegexValidator
from django.db import models
from django.db.models.functions import Lower

# Only ASCII, so no two names look alike; no "@", so a name is never taken for somebody's address at login.
USERNAME_RULES = [
    ASCIIUsernameValidator(message="Use letters, digits and . + - _ only."),
    RegexValidator(r"@", "Use letters, digits and . + - _ only.", inverse_match=True),
]


class User(AbstractUser):
    username = models.CharField(max_length=150, unique=True, validators=USERNAME_RULES)
    email = models.EmailField(max_length=254)
    is_verified = models.BooleanField(default=False, help_text="The address was confirmed by its owner.")

    class Meta(AbstractUser.Meta):
        constraints = [
            models.UniqueConstraint(Lower("username"), name="username_unique_in_any_case"),
            models.UniqueConstraint(Lower("email"), name="email_unique_in_any_case"),
        ]

    def __str__(self) -> str:
        return self.username
