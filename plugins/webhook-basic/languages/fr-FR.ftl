method = Nom d’utilisateur et mot de passe
notes = Chaque requête contient le nom d’utilisateur et le mot de passe (authentification HTTP Basic). Utilisez une adresse en https afin que personne ne puisse les lire en chemin.
basic-username = Nom d’utilisateur
basic-username-help = Le nom que le destinataire vous a attribué. Il ne peut pas contenir de deux-points.
basic-username-colon = Le nom d’utilisateur ne peut pas contenir de deux-points.
basic-password = Mot de passe
basic-password-help = Envoyé exactement comme vous le saisissez ici, espaces compris.
