method = Sans authentification
notes = L’événement est envoyé tel quel. Le destinataire ne peut pas savoir qui l’a envoyé. Réservez donc cette méthode à un réseau de confiance ou à une adresse que personne d’autre ne connaît.
